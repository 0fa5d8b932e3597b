package org.pocketbert

import kotlinx.coroutines.flow.asFlow
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class TasksTest {
    companion object {
        private val small by lazy { Model.fromFile(tiny) }
        private val big by lazy { Model.fromFile(everyday) }
        private const val TEXT = "😀 book a table for two in Paris"

        @JvmStatic
        @AfterAll
        fun close() {
            small.close()
            big.close()
        }
    }

    @Test
    fun classify(): Unit = runBlocking {
        val c = TextClassifier(small)
        val answer = c.classify(TEXT)
        assertEquals("BookRestaurant", answer.top!!.label)
        assertEquals(c.labels.size, answer.labels.size)
        assertEquals(1, c.classify(TEXT, ClassifyOptions { topK = 1 }).labels.size)
        val batch = c.classify(listOf("rain", TEXT))
        val streamed = c.classify(listOf("rain", TEXT).asFlow(), batch = 1).toList()
        for (other in listOf(batch[1], streamed[1], c.classifyAsync(TEXT), c.classifyAsync(listOf(TEXT))[0])) {
            assertArrayEquals(answer.logits(), other.logits())
        }
        val long = c.classifyLong("will it rain tomorrow? ".repeat(300))
        assertTrue(long.tokenCount > 1000 && !long.truncated)
        assertTrue(c.classify("rain ".repeat(2000)).truncated)
    }

    @Test
    fun spansAreOfStrings() {
        val t = TokenClassifier(small)
        val city = t.tag(TEXT).entities.first { it.label == "city" }
        assertEquals("Paris", city.of(TEXT))
        // Half an emoji is no character: it counts as one unit all the same.
        val broken = "\uD83D book a table for two in Paris"
        assertEquals("Paris", t.tag(broken).entities.first { it.label == "city" }.of(broken))
        val words = t.tagWords(listOf("book", "a", "table", "in", "Paris"))
        assertEquals(TextSpan(4, 5), words.entities.first { it.label == "city" }.words)
        val long = "😀 weather in Paris. ".repeat(200)
        assertTrue(t.tagLong(long).entities.any { it.span.start > 3000 && it.of(long) == "Paris" })
        for (token in Model.fromFile(tiny).use { it.tokenize("aé😀 Paris") }.filter { !it.isSpecial }) {
            assertTrue(token.span.end <= 10 && token.span.start < token.span.end)
        }
    }

    @Test
    fun vectors() {
        val e = TextEmbedder(small)
        val v = e.embed(listOf("is it cold outside", "will it rain today", "add this to my playlist"))
        assertTrue(v[0].cosine(v[1]) > v[0].cosine(v[2]))
        assertEquals(1, v[0].nearest(listOf(v[2], v[1]), 1)[0].index)
        val stored = Embedding.fromBytes(v[0].toBytes())
        assertArrayEquals(v[0].values(), stored.values())
        val small = v[0].toFormat(VectorFormat.I8)
        assertTrue(small.toBytes().size < v[0].toBytes().size / 2 && small.cosine(v[0]) > 0.99f)
        assertEquals(16, e.embed("a", EmbedOptions { dims = 16 }).dims)
        assertEquals(e.dims, v[0].truncated(e.dims).dims)
    }

    @Test
    fun rankSummarizeZeroShotAnalyze() {
        val ranked = Reranker(small).rank(TEXT, listOf("play a song", "table at a restaurant"))
        assertEquals(1, ranked[0].index)
        val text = "It rains in Rome. It rains a lot in Rome today. My cat sleeps."
        val summary = Summarizer(small).summarize(text, SummaryOptions { sentences = 1 })
        assertEquals(3, summary.of)
        assertTrue(summary.sentences.single().span.of(text).contains("rains"))
        val zero = ZeroShotClassifier(small).classify("will it rain tomorrow", listOf("get weather", "play music"))
        assertEquals("get weather", zero.top!!.label)
        val analyzer = Analyzer(small)
        val analysis = analyzer.analyze(TEXT)
        assertEquals(analyzer.heads, analysis.heads.map { it.head })
        val labels = analysis.head("intent") as HeadAnswer.Labels
        assertEquals("BookRestaurant", labels.classification.top!!.label)
    }

    @Test
    fun questionsAndTheEverydayModel() {
        val context = "😀 The Eiffel Tower was built in 1889 by the company of Gustave Eiffel."
        val qa = QuestionAnswerer(big)
        val found = qa.answer("When was the Eiffel Tower built?", context, AnswerOptions { topK = 3 })
        assertTrue(found.answers.any { it.of(context).contains("1889") })
        assertEquals(2, qa.answer(listOf(TextPair("Who?", context), TextPair("When?", context))).size)
        val names = big.info.heads.map { it.task }
        assertTrue(names.contains("question-answering") && names.contains("text-classification"))
    }

    @Test
    fun metricsSayNoText() {
        val c = TextClassifier(small)
        c.classify("secret words")
        assertTrue(c.metricsJson().contains("\"calls\":1") && !c.metricsJson().contains("secret"))
        assertTrue(c.metricsPrometheus().contains("pocketbert"))
        assertTrue(PocketBert.diagnostics().contains(PocketBert.version))
    }
}
