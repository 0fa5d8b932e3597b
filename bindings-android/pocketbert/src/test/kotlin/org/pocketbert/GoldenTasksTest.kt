package org.pocketbert

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import java.io.File
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.fail

private val kinds = mapOf(
    "CANCELLED" to 1, "INVALID_ARGUMENT" to 3, "DEADLINE_EXCEEDED" to 4, "NOT_FOUND" to 5, "PERMISSION_DENIED" to 7,
    "RESOURCE_EXHAUSTED" to 8, "FAILED_PRECONDITION" to 9, "OUT_OF_RANGE" to 11, "UNIMPLEMENTED" to 12, "INTERNAL" to 13,
    "DATA_LOSS" to 15,
)

/** What Kotlin's types do not let one ask. */
private val unspeakable = setOf("classify-error-mixed")

/** The cases that every language repeats (`tests/golden/README.md`): Rust's bits, and Rust's errors. */
class GoldenTasksTest {
    @Test
    fun tinyModel() = repeat("tiny-tasks.jsonl", tiny, 84)

    @Test
    fun everydayModel() = repeat("everyday-tasks.jsonl", everyday, 22)

    private fun repeat(name: String, bundle: File, atLeast: Int): Unit = Model.fromFile(bundle).use { model ->
        var done = 0
        for (case in jsonLines(name)) {
            val id = case.get("id").asString
            if (id in unspeakable) continue
            val error = case.getAsJsonObject("error")
            try {
                val answers = GoldenCase(model, case).answer()
                assertNull(error, "$id: an answer instead of an error")
                compare(answers, case.get("answers"), id)
            } catch (e: PocketBertException) {
                assertEquals(kinds[error?.get("kind")?.asString], e.code, "$id: ${e.message}")
                assertEquals(error.get("message").asString, e.message, id)
            }
            done++
        }
        assertTrue(done >= atLeast, "$done cases of $name")
    }

    /** Every field that the facade has must be equal; lists must be equally long. */
    private fun compare(got: Any, want: JsonElement, at: String) {
        when (got) {
            is Map<*, *> -> for ((key, value) in got) {
                compare(value!!, want.asJsonObject.get(key as String) ?: fail("$at has no `$key`"), "$at.$key")
            }
            is List<*> -> {
                assertEquals(want.asJsonArray.size(), got.size, at)
                got.zip(want.asJsonArray).forEachIndexed { i, (g, w) -> compare(g!!, w, "$at[$i]") }
            }
            is Int -> assertEquals(want.asInt, got, at)
            is Boolean -> assertEquals(want.asBoolean, got, at)
            is Float -> assertEquals(want.asString, "%08x".format(got.toRawBits()), at)
            else -> assertEquals(want.asString, got, at)
        }
    }
}

/** Answers one case, and gives the answer the shape of the file's. */
private class GoldenCase(private val model: Model, private val case: JsonObject) {
    private val o: JsonObject = case.getAsJsonObject("options") ?: JsonObject()
    private val head = case.get("head")?.asString
    private val texts = strings(case, "texts").orEmpty()
    private val pairs = case.getAsJsonArray("pairs")?.map { TextPair(it.asJsonArray[0].asString, it.asJsonArray[1].asString) }.orEmpty()
    private val long = case.getAsJsonObject("long")?.let {
        val merge = it.get("merge")?.asString?.let { m -> WindowMerge.valueOf(m.uppercase()) } ?: WindowMerge.WEIGHTED
        Windows(it.get("window")?.asInt, it.get("stride")?.asInt, merge)
    }

    private fun strings(from: JsonObject, name: String) = from.getAsJsonArray(name)?.map { it.asString }

    private fun int(name: String) = o.get(name)?.asInt

    private fun word(name: String) = o.get(name)?.asString

    private val cut = when (word("truncation")) {
        "tail" -> TooLong.KEEP_END
        "head-tail" -> TooLong.KEEP_BOTH_ENDS
        "refuse" -> TooLong.REFUSE
        else -> TooLong.KEEP_START
    }

    fun answer(): List<Any> = when (val task = case.get("task").asString) {
        "classify" -> classify()
        "tag" -> tag()
        "answer" -> questions()
        "summarize" -> summarize()
        "embed" -> embed()
        "rerank" -> rerank()
        "fill-mask" -> fill()
        "zero-shot" -> zeroShot()
        "analyze" -> analyze()
        else -> fail("unknown task `$task`")
    }

    /** A span as the files have it: in bytes, code points and UTF-16 units. */
    private fun span(s: TextSpan, text: String): Map<String, Any> {
        fun both(count: (String) -> Int) = listOf(count(text.substring(0, s.start)), count(text.substring(0, s.end)))
        return mapOf(
            "utf16" to listOf(s.start, s.end),
            "bytes" to both { it.toByteArray().size },
            "chars" to both { it.codePointCount(0, it.length) },
        )
    }

    private fun shape(a: Classification) = mapOf(
        "labels" to a.labels.map {
            mapOf("label" to it.label, "index" to it.index, "probability" to it.probability, "logit" to a.logits()[it.index])
        },
        "tokens" to a.tokenCount,
        "truncated" to a.truncated,
    )

    private fun shape(a: Tagged, text: String) = mapOf(
        "entities" to a.entities.map { e ->
            val words = e.words?.let { mapOf("words" to listOf(it.start, it.end)) }.orEmpty()
            span(e.span, text) + words + mapOf("label" to e.label, "score" to e.score)
        },
        "tokens" to a.tokenCount,
        "truncated" to a.truncated,
    )

    private fun shape(a: Answers, context: String) = mapOf(
        "answers" to a.answers.map { span(it.span, context) + mapOf("score" to it.score, "logit" to it.logit) },
        "no_answer" to a.noAnswer,
        "null_margin" to a.nullMargin,
        "null_score" to a.nullScore,
        "windows" to a.windows,
    )

    private fun classify(): List<Any> {
        val task = TextClassifier(model, head)
        val options = ClassifyOptions {
            topK = int("top_k")
            threshold = o.get("threshold")?.asFloat
            allow = strings(o, "allow").orEmpty()
            deny = strings(o, "deny").orEmpty()
            multiLabel = o.get("multi_label")?.asBoolean
            tooLong = cut
            maxTokens = int("max_length")
        }
        if (long != null) return texts.map { shape(task.classifyLong(it, options, long)) }
        if (pairs.isNotEmpty()) return pairs.map { shape(task.classify(it, options)) }
        val all = task.classify(texts, options)
        for ((text, a) in texts.zip(all)) assertArrayEquals(a.logits(), task.classify(text, options).logits())
        return all.map(::shape)
    }

    private fun tag(): List<Any> {
        val task = TokenClassifier(model, head)
        val options = TagOptions {
            aggregation = when (val a = word("aggregation")) {
                null -> Aggregation.FIRST
                "none" -> Aggregation.EACH_TOKEN
                else -> Aggregation.valueOf(a.uppercase())
            }
            scheme = when (val s = word("scheme")) {
                null -> null
                "iob2" -> TagScheme.BIO_STRICT
                "none" -> TagScheme.PLAIN
                else -> TagScheme.valueOf(s.uppercase())
            }
            ignore = strings(o, "ignore")
            threshold = o.get("threshold")?.asFloat
            tooLong = cut
            maxTokens = int("max_length")
        }
        val words = case.getAsJsonArray("words")?.map { w -> w.asJsonArray.map { it.asString } }
        if (words != null) return words.map { shape(task.tagWords(it, options), it.joinToString(" ")) }
        if (long != null) return texts.map { shape(task.tagLong(it, options, long), it) }
        return task.tag(texts, options).zip(texts).map { (a, text) -> shape(a, text) }
    }

    private fun questions(): List<Any> {
        val options = AnswerOptions {
            int("top_k")?.let { topK = it }
            int("max_tokens")?.let { maxTokens = it }
            o.get("whole_words")?.let { wholeWords = it.asBoolean }
            noAnswer = o.get("no_answer")?.asFloat
            long?.let { windows = it }
        }
        return QuestionAnswerer(model, head).answer(pairs, options).zip(pairs).map { (a, p) -> shape(a, p.pair) }
    }

    private fun summarize(): List<Any> {
        val task = Summarizer(model, head)
        val options = SummaryOptions {
            int("sentences")?.let { sentences = it }
            word("centrality")?.let { centrality = if (it == "lexrank") Centrality.LEX_RANK else Centrality.valueOf(it.uppercase()) }
        }
        return texts.map { text ->
            val s = task.summarize(text, options)
            val chosen = s.sentences.map { span(it.span, text) + mapOf("index" to it.index, "score" to it.score) }
            mapOf("sentences" to chosen, "of" to s.of)
        }
    }

    private fun embed(): List<Any> {
        val task = TextEmbedder(model, head)
        val options = EmbedOptions {
            pooling = word("pooling")?.let { if (it == "cls") Pooling.FIRST else Pooling.valueOf(it.uppercase()) }
            normalize = o.get("normalize")?.asBoolean
            dims = int("dims")
            word("format")?.let { format = VectorFormat.valueOf(it.uppercase()) }
            word("role")?.let { role = Role.valueOf(it.uppercase()) }
            prefix = word("prefix")
            tooLong = cut
            maxTokens = int("max_length")
        }
        val all = if (long != null) texts.map { task.embedLong(it, options, long) } else task.embed(texts, options)
        return all.map { v ->
            assertArrayEquals(v.values(), Embedding.fromBytes(v.toBytes()).values())
            mapOf("format" to v.format.name.lowercase(), "values" to v.values().toList(), "cosine" to v.cosine(all[0]))
        }
    }

    private fun rerank(): List<Any> {
        val (task, query) = Reranker(model, head) to case.get("query").asString
        val options = RerankOptions { topK = int("top_k") }
        val all = if (long != null) task.rankLong(query, texts, options, long) else task.rank(query, texts, options)
        return all.map { mapOf("index" to it.index, "score" to it.score) }
    }

    private fun fill(): List<Any> {
        val options = FillMaskOptions {
            int("top_k")?.let { topK = it }
            targets = strings(o, "targets").orEmpty()
            tooLong = cut
            maxTokens = int("max_length")
        }
        val task = MaskFiller(model, head)
        val all = if (long != null) texts.map { task.fillLong(it, options, long) } else task.fill(texts, options)
        return all.zip(texts).map { (a, text) ->
            val masks = a.masks.map { m ->
                val candidates = m.candidates.map {
                    mapOf("token" to it.token, "id" to it.id, "probability" to it.probability, "filled" to it.filled)
                }
                mapOf("bytes" to span(m.span, text).getValue("bytes"), "candidates" to candidates)
            }
            mapOf("masks" to masks, "tokens" to a.tokenCount, "truncated" to a.truncated)
        }
    }

    private fun zeroShot(): List<Any> {
        val options = ZeroShotOptions {
            template = word("template")
            multiLabel = o.get("multi_label")?.asBoolean ?: false
            topK = int("top_k")
            threshold = o.get("threshold")?.asFloat
            tooLong = cut
            maxTokens = int("max_length")
        }
        val (task, given) = ZeroShotClassifier(model, head) to strings(case, "labels").orEmpty()
        val all = when (long) {
            null -> task.classify(texts, given, options)
            else -> texts.map { task.classifyLong(it, given, options, long) }
        }
        return all.map { a ->
            val labels = a.labels.map { mapOf("label" to it.label, "index" to it.index, "probability" to it.probability) }
            mapOf("labels" to labels, "truncated" to a.truncated)
        }
    }

    private fun analyze(): List<Any> {
        val options = AnalyzeOptions {
            heads = strings(o, "heads").orEmpty()
            topK = int("top_k")
            question = word("question")
            tooLong = cut
            maxTokens = int("max_length")
        }
        val task = Analyzer(model)
        val all = if (long != null) texts.map { task.analyzeLong(it, options, long) } else task.analyze(texts, options)
        return all.zip(texts).map { (a, text) ->
            val heads = a.heads.map { h ->
                val answer = when (val x = h.answer) {
                    is HeadAnswer.Labels -> shape(x.classification)
                    is HeadAnswer.Tags -> shape(x.tagged, text)
                    is HeadAnswer.Found -> shape(x.answers, text)
                    is HeadAnswer.Vector -> mapOf("values" to x.embedding.values().toList())
                }
                mapOf("head" to h.head, "answer" to answer)
            }
            mapOf("heads" to heads, "tokens" to a.tokenCount, "truncated" to a.truncated)
        }
    }
}
