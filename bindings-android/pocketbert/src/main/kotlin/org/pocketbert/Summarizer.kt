package org.pocketbert

import java.io.File
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.Centrality as NativeCentrality
import org.pocketbert.internal.Summarizer as NativeTask
import org.pocketbert.internal.SummaryOptions as NativeOptions

/** How the sentences of a summary are chosen. */
public enum class Centrality {
    /** Those nearest to the mean of all. */
    CENTROID,

    /** Those that a random walk over similar sentences visits most often. */
    LEX_RANK,

    /** The first ones. */
    LEAD,
}

/** How to summarize. */
public class SummaryOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** How many sentences to keep. */
    public val sentences: Int = builder.sentences

    /** How they are chosen. */
    public val centrality: Centrality = builder.centrality

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(sentences, NativeCentrality.valueOf(centrality.name), call)

    /** Sets what [SummaryOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [SummaryOptions.sentences]. */
        public var sentences: Int = 3

        /** See [SummaryOptions.centrality]. */
        public var centrality: Centrality = Centrality.CENTROID

        /** The options. */
        public fun build(): SummaryOptions = SummaryOptions(this)
    }

    public companion object {
        /** Three sentences. */
        @JvmField
        public val DEFAULT: SummaryOptions = Builder().build()

        /** `SummaryOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): SummaryOptions = Builder().apply(set).build()
    }
}

/** A sentence of a summary. */
public class SummarySentence internal constructor(
    /** Its number in the text, from 0. */
    public val index: Int,
    /** How central it is; comparable within one text only. */
    public val score: Float,
    /** Where it is. */
    public val span: TextSpan,
)

/** The chosen sentences, in the order of the text. */
public class Summary internal constructor(
    /** The sentences. */
    public val sentences: List<SummarySentence>,
    /** How many the text has. */
    public val of: Int,
)

/**
 * Picks the sentences of a text that stand for it best.
 *
 * For sharing, threads and closing see [Task].
 */
public class Summarizer internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** Summarizes [text]. */
    @JvmOverloads
    public fun summarize(text: String, options: SummaryOptions = SummaryOptions.DEFAULT): Summary =
        one(text, options, options.native())

    /** [summarize] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun summarizeAsync(text: String, options: SummaryOptions = SummaryOptions.DEFAULT): Summary =
        stoppable(options) { one(text, options, it) }

    private fun one(text: String, options: SummaryOptions, call: NativeCall): Summary {
        val s = native { handle.summarize(clean(text), options.with(call)) }
        return Summary(s.sentences.map { SummarySentence(it.index, it.score, it.span.public()) }, s.of)
    }

    public companion object : PlatformOpener<Summarizer>() {
        override fun from(options: OpenOptions): Summarizer = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its usual embedding head. */
        @JvmStatic
        public fun fromFile(file: File): Summarizer = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): Summarizer = opened(options) { m -> Summarizer(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): Summarizer =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
