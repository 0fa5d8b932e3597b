package org.pocketbert

import com.google.gson.JsonObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test

/** `tests/golden/tiny-tasks.jsonl`: vectors, ranks, masks and given labels have Rust's bits. */
class GoldenTasksTest {
    // As `tests/src/tasks.rs` has them.
    private val texts = listOf(
        "play some jazz",
        "Will it rain in Zürich tomorrow? 🌧",
        "WINNER!! Claim your £900 prize now",
        "",
        "book a table for two at an Italian place",
        "東京 e\u0301te\u0301 naïve",
    )
    private val masks = listOf("play some [MASK] music", "will it [MASK] in [MASK] tomorrow", "[MASK]")
    private val labels = listOf("play music", "get weather", "book restaurant")

    private fun bits(values: List<Float>) = values.map { "%08x".format(it.toRawBits()) }

    private fun JsonObject.strings(name: String) = getAsJsonArray(name).map { it.asString }

    private fun JsonObject.numbers(name: String) = getAsJsonArray(name).map { it.asInt }

    private fun of(task: String) = jsonLines("tiny-tasks.jsonl").filter { it.get("task").asString == task }

    @Test
    fun vectors(): Unit = Model.fromFile(tiny).use { model ->
        val embedder = TextEmbedder(model)
        for (line in of("embed")) {
            val kind = VectorFormat.valueOf(line.get("format").asString.uppercase())
            val options = EmbedOptions {
                format = kind
                dims = if (kind == VectorFormat.F16) 48 else null
            }
            val v = embedder.embed(texts, options)
            assertEquals(line.getAsJsonArray("values").map { a -> a.asJsonArray.map { it.asString } }, v.map { bits(it.values().toList()) })
            assertEquals(line.strings("cosines"), bits(v.map { v[0].cosine(it) }))
        }
    }

    @Test
    fun ranks(): Unit = Model.fromFile(tiny).use { model ->
        val line = of("rerank").single()
        val ranked = Reranker(model).rank("music please", texts)
        assertEquals(line.numbers("order"), ranked.map { it.index })
        assertEquals(line.strings("scores"), bits(ranked.map { it.score }))
    }

    @Test
    fun filledMasks(): Unit = Model.fromFile(tiny).use { model ->
        val filled = MaskFiller(model).fill(masks).flatMap { it.masks }
        for ((line, mask) in of("fill-mask").zip(filled)) {
            assertEquals(line.get("at").asInt, mask.span.start)
            assertEquals(line.numbers("ids"), mask.candidates.map { it.id })
            val probabilities = line.strings("numbers").filterIndexed { i, _ -> i % 2 == 1 }
            assertEquals(probabilities, bits(mask.candidates.map { it.probability }))
        }
        assertEquals(of("fill-mask").size, filled.size)
    }

    @Test
    fun givenLabels(): Unit = Model.fromFile(tiny).use { model ->
        val classifier = ZeroShotClassifier(model)
        val all = listOf(false, true).flatMap { classifier.classify(texts, labels, ZeroShotOptions { multiLabel = it }) }
        val lines = of("zero-shot")
        assertEquals(lines.size, all.size)
        for ((line, answer) in lines.zip(all)) {
            assertEquals(line.numbers("order"), answer.labels.map { it.index })
            val probabilities = line.strings("numbers").filterIndexed { i, _ -> i % 2 == 1 }
            assertEquals(probabilities, bits(answer.labels.map { it.probability }))
        }
    }
}
