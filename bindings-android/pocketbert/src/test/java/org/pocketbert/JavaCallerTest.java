package org.pocketbert;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.File;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The same API from Java, without a Kotlin word. */
class JavaCallerTest {
    private static final File TINY = new File(System.getProperty("pocketbert.root"), "models/tiny.pbert");

    @Test
    void classifies() {
        try (TextClassifier classifier = TextClassifier.fromFile(TINY)) {
            assertEquals("BookRestaurant", classifier.classify("book a table for two in Paris").getTop().getLabel());
            ClassifyOptions.Builder options = new ClassifyOptions.Builder();
            options.setTopK(2);
            options.setThreads(2);
            List<Classification> both = classifier.classify(Arrays.asList("rain", "sun"), options.build());
            assertEquals(2, both.get(1).getLabels().size());
        }
    }

    @Test
    void options() {
        OpenOptions options = new OpenOptions.Builder().file(TINY).build();
        try (Model model = Model.fromOptions(options);
                TokenClassifier tagger = new TokenClassifier(model);
                TextEmbedder embedder = new TextEmbedder(model, "embed")) {
            String text = "weather in Paris";
            assertEquals("Paris", tagger.tag(text).getEntities().get(0).of(text));
            assertEquals(embedder.getDims(), embedder.embed(text).values().length);
        }
    }

    @Test
    void exceptions() {
        PocketBertException e =
                assertThrows(PocketBertException.class, () -> TextClassifier.fromFile(new File("/no/such")));
        assertEquals(5, e.getCode());
    }
}
