package org.pocketbert

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** Recorded logits have Rust's bits. Vectors, spans and ranks: [GoldenTasksTest]. */
class GoldenTest {
    private fun check(values: FloatArray, expected: com.google.gson.JsonObject, name: String) {
        val bits = expected.getAsJsonArray("bits")
        if (bits != null) {
            val ours = values.map { "%08x".format(it.toRawBits()) }
            assertEquals(bits.map { it.asString }, ours, name)
        } else {
            val bytes = ByteBuffer.allocate(values.size * 4).order(ByteOrder.LITTLE_ENDIAN)
            values.forEach { bytes.putFloat(it) }
            val hash = MessageDigest.getInstance("SHA-256").digest(bytes.array()).joinToString("") { "%02x".format(it) }
            assertEquals(expected.get("sha256").asString, hash, name)
        }
    }

    private fun run(file: java.io.File, cases: String, heads: List<String>, step: Int): Int {
        val texts = jsonLines("texts.jsonl").associateBy { it.get("id").asString }
        var compared = 0
        Model.fromFile(file).use { model ->
            val tasks = heads.associateWith { TextClassifier(model, it) }
            for (case in jsonLines(cases).filterIndexed { i, _ -> i % step == 0 }) {
                val id = case.get("id").asString
                val input = texts.getValue(id)
                val text = input.get("text").asString
                val pair = input.get("pair")?.takeIf { !it.isJsonNull }?.asString
                if (pair == null) {
                    assertEquals(case.getAsJsonArray("ids").map { it.asInt }, model.tokenize(text).map { it.id }, id)
                }
                val outputs = case.getAsJsonObject("outputs")
                for ((head, task) in tasks) {
                    val expected = outputs.getAsJsonObject(head) ?: continue
                    val answer = if (pair == null) task.classify(text) else task.classify(TextPair(text, pair))
                    check(answer.logits(), expected, "$id $head")
                    compared++
                }
            }
        }
        return compared
    }

    @Test
    fun tinyModel() = assertTrue(run(tiny, "tiny.jsonl", listOf("intent", "spam"), 1) > 300)

    @Test
    fun everydayModel() {
        val heads = listOf("sentiment", "intent", "spam", "moderation")
        assertTrue(run(everyday, "everyday.jsonl", heads, 8) > 10)
    }

    @Test
    fun bundlesTestThemselves() {
        val report = Model.fromFile(tiny).use { it.selfTest() }
        assertTrue(report.passed && report.cases > 0 && report.values > 0, report.failures.toString())
    }
}
