package org.pocketbert

import java.io.File
import org.pocketbert.internal.Analysis as NativeAnalysis
import org.pocketbert.internal.AnalyzeOptions as NativeOptions
import org.pocketbert.internal.Analyzer as NativeTask
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.HeadAnswer as NativeAnswer

/** How to analyze. */
public class AnalyzeOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** These heads only; empty: all. */
    public val heads: List<String> = builder.heads.toList()

    /** Labels of a classification to keep; null: all. */
    public val topK: Int? = builder.topK

    /** Ask this of the text, too. */
    public val question: String? = builder.question

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(heads, topK, question?.let(::clean), tooLong.native(), maxTokens, call)

    /** Sets what [AnalyzeOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [AnalyzeOptions.heads]. */
        public var heads: List<String> = emptyList()

        /** See [AnalyzeOptions.topK]. */
        public var topK: Int? = null

        /** See [AnalyzeOptions.question]. */
        public var question: String? = null

        /** See [AnalyzeOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [AnalyzeOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): AnalyzeOptions = AnalyzeOptions(this)
    }

    public companion object {
        /** Every head. */
        @JvmField
        public val DEFAULT: AnalyzeOptions = Builder().build()

        /** `AnalyzeOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): AnalyzeOptions = Builder().apply(set).build()
    }
}

/** What one head says. */
public sealed class HeadAnswer {
    /** Of one that classifies. */
    public class Labels internal constructor(
        /** Its answer. */
        public val classification: Classification,
    ) : HeadAnswer()

    /** Of one that tags. */
    public class Tags internal constructor(
        /** Its answer. */
        public val tagged: Tagged,
    ) : HeadAnswer()

    /** Of one that makes vectors. */
    public class Vector internal constructor(
        /** Its answer. */
        public val embedding: Embedding,
    ) : HeadAnswer()

    /** Of one that answers questions. */
    public class Found internal constructor(
        /** Its answer. */
        public val answers: Answers,
    ) : HeadAnswer()
}

/** One head's part of an analysis. */
public class HeadAnalysis internal constructor(
    /** The head's name. */
    public val head: String,
    /** What it does. */
    public val task: String,
    /** What it says. */
    public val answer: HeadAnswer,
)

/** What the heads say of one text. */
public class Analysis internal constructor(
    /** In the bundle's order. */
    public val heads: List<HeadAnalysis>,
    /** Tokens that the model saw. */
    public val tokenCount: Int,
    /** The text was cut to fit. */
    public val truncated: Boolean,
    /** The model's version. */
    public val modelVersion: String,
) {
    /** The answer of the head [name]; null if it was not asked. */
    public fun head(name: String): HeadAnswer? = heads.firstOrNull { it.head == name }?.answer
}

/**
 * Several heads at once, for one run of the encoder.
 *
 * For sharing, threads and closing see [Task].
 */
public class Analyzer internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** Names of the heads that can be asked. */
    public val heads: List<String> by lazy { native { handle.heads() } }

    private val labels: Map<String, List<String>> by lazy { model.info.heads.associate { it.name to it.labels } }

    /** Asks heads about [text]. */
    @JvmOverloads
    public fun analyze(text: String, options: AnalyzeOptions = AnalyzeOptions.DEFAULT): Analysis =
        one(text, options, options.native())

    /** Asks heads about texts. */
    @JvmOverloads
    public fun analyze(texts: List<String>, options: AnalyzeOptions = AnalyzeOptions.DEFAULT): List<Analysis> =
        many(texts, options, options.native())

    /** Asks heads about a text of any length, read in windows: once for all heads that share their windows. */
    @JvmOverloads
    public fun analyzeLong(
        text: String,
        options: AnalyzeOptions = AnalyzeOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): Analysis = long(text, options, windows, options.native())

    /** [analyzeLong] on the model's dispatcher. */
    public suspend fun analyzeLongAsync(
        text: String,
        options: AnalyzeOptions = AnalyzeOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): Analysis = stoppable(options) { long(text, options, windows, it) }

    /** [analyze] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun analyzeAsync(text: String, options: AnalyzeOptions = AnalyzeOptions.DEFAULT): Analysis =
        stoppable(options) { one(text, options, it) }

    /** [analyze] of several texts on the model's dispatcher. */
    public suspend fun analyzeAsync(
        texts: List<String>,
        options: AnalyzeOptions = AnalyzeOptions.DEFAULT,
    ): List<Analysis> = stoppable(options) { many(texts, options, it) }

    // All ask for the labels first: during the run this object may be closed.
    private fun one(text: String, options: AnalyzeOptions, call: NativeCall): Analysis {
        val names = labels
        return public(native { handle.analyze(clean(text), options.with(call)) }, names)
    }

    private fun long(text: String, options: AnalyzeOptions, windows: Windows, call: NativeCall): Analysis {
        val names = labels
        return public(native { handle.analyzeLong(clean(text), options.with(call), windows.native()) }, names)
    }

    private fun many(texts: List<String>, options: AnalyzeOptions, call: NativeCall): List<Analysis> {
        val names = labels
        return native { handle.analyzeBatch(texts.map(::clean), options.with(call)) }.map { public(it, names) }
    }

    private fun public(a: NativeAnalysis, names: Map<String, List<String>>): Analysis {
        val all = a.heads.map { h ->
            val answer = when (val x = h.answer) {
                is NativeAnswer.Labels -> HeadAnswer.Labels(x.classification.public(names[h.head].orEmpty()))
                is NativeAnswer.Tags -> HeadAnswer.Tags(x.tagged.public())
                is NativeAnswer.Embedding -> HeadAnswer.Vector(embedding(x.vector))
                is NativeAnswer.Found -> HeadAnswer.Found(x.answers.public())
            }
            HeadAnalysis(h.head, h.task, answer)
        }
        return Analysis(all, a.tokenCount, a.truncated, a.modelVersion)
    }

    public companion object : PlatformOpener<Analyzer>() {
        override fun from(options: OpenOptions): Analyzer = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes all heads that can be asked. */
        @JvmStatic
        public fun fromFile(file: File): Analyzer = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): Analyzer = opened(options) { m -> Analyzer(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): Analyzer =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
