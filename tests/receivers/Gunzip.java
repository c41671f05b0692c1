import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPInputStream;

/** Prints a gzip file without gzip. It must be one member, with nothing behind it. */
public class Gunzip {
    public static void main(String[] arguments) throws Exception {
        byte[] file = Files.readAllBytes(Path.of(arguments[0]));
        byte[] plain;
        try (GZIPInputStream reader = new GZIPInputStream(new ByteArrayInputStream(file))) {
            plain = reader.readAllBytes();
        }
        // The reader goes on with the next member, and takes no notice of what is none: the last bytes must be the length.
        int length = 0;
        for (int at = 1; at <= 4; at++) {
            length = length << 8 | file[file.length - at] & 0xff;
        }
        if (length != plain.length) {
            throw new IllegalStateException("not one gzip member");
        }
        System.out.write(plain);
        System.out.flush();
    }
}
