<?php
// Prints a gzip file without gzip. It must be one member, with nothing behind it.
$file = file_get_contents($argv[1]);
$stream = inflate_init(ZLIB_ENCODING_GZIP);
$plain = inflate_add($stream, $file, ZLIB_FINISH);
if ($plain === false || inflate_get_status($stream) !== ZLIB_STREAM_END || inflate_get_read_len($stream) !== strlen($file)) {
    fwrite(STDERR, "not one gzip member\n");
    exit(1);
}
if (gzdecode($file) !== $plain) {
    fwrite(STDERR, "gzdecode reads something else\n");
    exit(1);
}
echo $plain;
