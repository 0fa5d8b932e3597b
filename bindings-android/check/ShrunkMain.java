import java.io.File;
import java.util.ArrayList;
import java.util.List;
import org.pocketbert.Classification;
import org.pocketbert.LogLevel;
import org.pocketbert.PocketBert;
import org.pocketbert.PocketBertException;
import org.pocketbert.TextClassifier;
import org.pocketbert.TokenClassifier;

/** What an app does, run after R8 has shrunk and renamed it all: calls, structures, errors, and a call back. */
public class ShrunkMain {
    public static void main(String[] args) {
        final List<String> lines = new ArrayList<>();
        PocketBert.setLogSink((level, message) -> lines.add(level + " " + message));
        PocketBert.setLogLevel(LogLevel.WARN);
        String text = "book a table for two in Paris";
        try (TextClassifier classifier = TextClassifier.fromFile(new File(args[0]));
                TokenClassifier tagger = TokenClassifier.fromFile(new File(args[0]))) {
            Classification answer = classifier.classify(text);
            System.out.println(answer.getTop().getLabel() + " " + tagger.tag(text).getEntities().get(0).of(text));
            classifier.watchDrift(50L, 0.01);
            for (int i = 0; i < 50; i++) classifier.classify("zanzibarish");
        }
        try {
            TextClassifier.fromFile(new File("/no/such"));
        } catch (PocketBertException.NotFound e) {
            System.out.println("error " + e.getCode());
        }
        System.out.println("logged " + !lines.isEmpty());
    }
}
