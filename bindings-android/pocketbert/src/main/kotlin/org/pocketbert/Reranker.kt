package org.pocketbert

import java.io.File
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.RerankOptions as NativeOptions
import org.pocketbert.internal.Reranker as NativeTask

/** How to rank. */
public class RerankOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** Keep the best documents; null: all. */
    public val topK: Int? = builder.topK

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(topK, tooLong.native(), maxTokens, call)

    /** Sets what [RerankOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [RerankOptions.topK]. */
        public var topK: Int? = null

        /** See [RerankOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [RerankOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): RerankOptions = RerankOptions(this)
    }

    public companion object {
        /** All documents. */
        @JvmField
        public val DEFAULT: RerankOptions = Builder().build()

        /** `RerankOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): RerankOptions = Builder().apply(set).build()
    }
}

/** A document's place. */
public class Ranked internal constructor(
    /** Its index among the documents. */
    public val index: Int,
    /** How well it fits the query. */
    public val score: Float,
)

/**
 * Documents by how well they fit a query.
 *
 * For sharing, threads and closing see [Task].
 */
public class Reranker internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** The [documents], the best first. */
    @JvmOverloads
    public fun rank(
        query: String,
        documents: List<String>,
        options: RerankOptions = RerankOptions.DEFAULT,
    ): List<Ranked> = ranked(query, documents, options, options.native())

    /** [rank] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun rankAsync(
        query: String,
        documents: List<String>,
        options: RerankOptions = RerankOptions.DEFAULT,
    ): List<Ranked> = stoppable(options) { ranked(query, documents, options, it) }

    /** The [documents], which may have any length, the best first: the scores of their windows are merged. */
    @JvmOverloads
    public fun rankLong(
        query: String,
        documents: List<String>,
        options: RerankOptions = RerankOptions.DEFAULT,
        windows: Windows = Windows.BEST,
    ): List<Ranked> = long(query, documents, options, windows, options.native())

    /** [rankLong] on the model's dispatcher. */
    public suspend fun rankLongAsync(
        query: String,
        documents: List<String>,
        options: RerankOptions = RerankOptions.DEFAULT,
        windows: Windows = Windows.BEST,
    ): List<Ranked> = stoppable(options) { long(query, documents, options, windows, it) }

    private fun long(
        query: String,
        documents: List<String>,
        options: RerankOptions,
        windows: Windows,
        call: NativeCall,
    ): List<Ranked> =
        native { handle.rankLong(clean(query), documents.map(::clean), options.with(call), windows.native()) }
            .map { Ranked(it.index, it.score) }

    private fun ranked(query: String, documents: List<String>, options: RerankOptions, call: NativeCall): List<Ranked> =
        native { handle.rank(clean(query), documents.map(::clean), options.with(call)) }
            .map { Ranked(it.index, it.score) }

    public companion object : PlatformOpener<Reranker>() {
        override fun from(options: OpenOptions): Reranker = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its head for pairs or vectors. */
        @JvmStatic
        public fun fromFile(file: File): Reranker = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): Reranker = opened(options) { m -> Reranker(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): Reranker =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
