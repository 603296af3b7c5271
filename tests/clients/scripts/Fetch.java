import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;

/** What a service on Java does: `java Fetch [URL FILE BODY]…`, as in fetch.py. Proxy and roots come from JAVA_TOOL_OPTIONS. */
public final class Fetch {
    public static void main(String[] triples) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int at = 0; at < triples.length; at += 3) {
            var request = HttpRequest.newBuilder(URI.create(triples[at]));
            if (!triples[at + 2].equals("-")) {
                request.POST(BodyPublishers.ofFile(Path.of(triples[at + 2])));
            }
            var response = client.send(request.build(), BodyHandlers.ofFile(Path.of(triples[at + 1])));
            if (response.statusCode() != 200) {
                throw new IllegalStateException(triples[at] + " answered " + response.statusCode());
            }
            System.out.println(response.version() == HttpClient.Version.HTTP_2 ? "2" : "1.1");
        }
    }
}
