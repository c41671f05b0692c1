#!/usr/bin/env bash
# gzip as PHP, Ruby and Perl read it ends with the first member: the rest of the body is gone without a word.
#
# Tool:     gzdecode of PHP 8.2, Zlib.gunzip of Ruby 3.1 (Debian 12), IO::Uncompress::Gunzip of Perl 5.36 (Debian 12), and,
#           to compare, gzip of CPython, zlib of Node and GNU gzip.
# Expected: A gzip file is a series of members (RFC 1952, 2.2), and its content is all of theirs, as zcat and Python say; or
#           what is behind the first member is an error.
# Instead:  PHP, Ruby and Perl return the content of the first member, and raise nothing, warn of nothing. PHP's own stream
#           wrapper for the same file goes on.
# Output:   gzip first second
#           Python first second
#           PHP gzdecode first
#           PHP compress.zlib:// first second
#           Ruby Zlib.gunzip first
#           Perl IO::Uncompress::Gunzip first
# Matters:  A sender that compresses as it stores, and joins the pieces into a body, loses all but the first behind a
#           receiver in one of these, with a 200. A request is one member.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
download() { (cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root "$@"); }
packages=(php8.2-cli=8.2.36-1~deb12u1 libargon2-1=0~20171227-0.3+deb12u1 libsodium23=1.0.18-1+deb12u1
    libxml2=2.9.14+dfsg-1.3~deb12u6 libicu72=72.1-3+deb12u1 ruby3.1=3.1.7+really3.1.2-0+deb12u1
    libruby3.1=3.1.7+really3.1.2-0+deb12u1 libgmp10=2:6.2.1+dfsg1-1.1 perl-modules-5.36=5.36.0-7+deb12u4
    libperl5.36=5.36.0-7+deb12u4)
download "${packages[@]}" 2>/dev/null || { apt-get update -qq && download "${packages[@]}"; }
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu:$dir/root/lib/x86_64-linux-gnu
ruby=$dir/root/usr/lib/ruby
export RUBYLIB=$ruby/3.1.0:$dir/root/usr/lib/x86_64-linux-gnu/ruby/3.1.0
# The program itself is on every Debian 12.
perl=(perl "-I$dir/root/usr/lib/x86_64-linux-gnu/perl/5.36" "-I$dir/root/usr/share/perl/5.36")

{ printf 'first ' | gzip && printf second | gzip; } >"$dir/body.gz"
say() { # name, command
    local name=$1
    shift
    echo "$name $("$@" 2>&1)"
}
seen=$(
    cd "$dir"
    say gzip gzip -dc body.gz
    say Python python3 -c 'import gzip, sys; print(gzip.decompress(open("body.gz", "rb").read()).decode())'
    say 'PHP gzdecode' root/usr/bin/php8.2 -n -r 'echo gzdecode(file_get_contents("body.gz"));'
    say 'PHP compress.zlib://' root/usr/bin/php8.2 -n -r 'echo file_get_contents("compress.zlib://body.gz");'
    say 'Ruby Zlib.gunzip' root/usr/bin/ruby3.1 --disable-gems -w -rzlib -e 'print Zlib.gunzip(File.binread("body.gz"))'
    say 'Perl IO::Uncompress::Gunzip' "${perl[@]}" -w -MIO::Uncompress::Gunzip=gunzip -e \
        'gunzip("body.gz" => \my $plain) or die "it fails"; print $plain'
)
expected='gzip first second
Python first second
PHP gzdecode first
PHP compress.zlib:// first second
Ruby Zlib.gunzip first
Perl IO::Uncompress::Gunzip first'
echo "$seen" | sed 's/ *$//'
[ "$(sed 's/ *$//' <<<"$seen")" = "$expected" ]
