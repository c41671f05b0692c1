# Prints a gzip file without gzip. It must be one member, with nothing behind it.
use strict;
use warnings;
use IO::Uncompress::Gunzip qw($GunzipError);

my $reader = IO::Uncompress::Gunzip->new($ARGV[0], Strict => 1, MultiStream => 0, Transparent => 0)
    or die "no gzip: $GunzipError\n";
binmode STDOUT;
my $status;
while (($status = $reader->read(my $buffer)) > 0) {
    print $buffer;
}
die "broken: $GunzipError\n" if $status < 0;
die "more than one gzip member\n" if length $reader->trailingData() || $reader->nextStream() == 1;
