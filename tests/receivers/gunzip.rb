# Prints a gzip file without gzip. It must be one member, with nothing behind it.
require 'zlib'

File.open(ARGV[0], 'rb') do |file|
  reader = Zlib::GzipReader.new(file)
  $stdout.binmode.write(reader.read)
  unused = reader.unused
  reader.finish
  abort 'more than one gzip member' unless unused.nil? && file.read.to_s.empty?
end
