package org.pocketbert

import java.io.File
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.ZeroShot as NativeZeroShot
import org.pocketbert.internal.ZeroShotClassifier as NativeTask
import org.pocketbert.internal.ZeroShotOptions as NativeOptions

/** How to classify by given labels. */
public class ZeroShotOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** The sentence that a label makes, with one `{}`; null: the usual one. */
    public val template: String? = builder.template

    /** Judge every label by itself. */
    public val multiLabel: Boolean = builder.multiLabel

    /** Keep this many labels; null: all. */
    public val topK: Int? = builder.topK

    /** Leave out labels that are less probable. */
    public val threshold: Float? = builder.threshold

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(template?.let(::clean), multiLabel, topK, threshold, tooLong.native(), maxTokens, call)

    /** Sets what [ZeroShotOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [ZeroShotOptions.template]. */
        public var template: String? = null

        /** See [ZeroShotOptions.multiLabel]. */
        public var multiLabel: Boolean = false

        /** See [ZeroShotOptions.topK]. */
        public var topK: Int? = null

        /** See [ZeroShotOptions.threshold]. */
        public var threshold: Float? = null

        /** See [ZeroShotOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [ZeroShotOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): ZeroShotOptions = ZeroShotOptions(this)
    }

    public companion object {
        /** All labels, one of which holds. */
        @JvmField
        public val DEFAULT: ZeroShotOptions = Builder().build()

        /** `ZeroShotOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): ZeroShotOptions = Builder().apply(set).build()
    }
}

/** The answer to one text. */
public class ZeroShot internal constructor(
    /** The labels that passed the options, the most probable first; [ScoredLabel.index] counts those given. */
    public val labels: List<ScoredLabel>,
    /** The text was cut to fit. */
    public val truncated: Boolean,
    /** The model's version. */
    public val modelVersion: String,
) {
    /** The most probable label, if the options left any. */
    public val top: ScoredLabel? get() = labels.firstOrNull()
}

private fun NativeZeroShot.public(names: List<String>): ZeroShot =
    ZeroShot(labels.map { ScoredLabel(names[it.index], it.index, it.probability) }, truncated, modelVersion)

/**
 * Texts to labels that are given with the call.
 *
 * For sharing, threads and closing see [Task].
 */
public class ZeroShotClassifier internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** Which of [labels] fit [text]. */
    @JvmOverloads
    public fun classify(
        text: String,
        labels: List<String>,
        options: ZeroShotOptions = ZeroShotOptions.DEFAULT,
    ): ZeroShot = one(text, labels.toList(), options, options.native())

    /** Which of [labels] fit each of [texts]. */
    @JvmOverloads
    public fun classify(
        texts: List<String>,
        labels: List<String>,
        options: ZeroShotOptions = ZeroShotOptions.DEFAULT,
    ): List<ZeroShot> {
        val names = labels.toList()
        return native {
            handle.classifyBatch(texts.map(::clean), names.map(::clean), options.with(options.native()))
        }.map { it.public(names) }
    }

    /** Which of [labels] fit a text of any length, read in windows. */
    @JvmOverloads
    public fun classifyLong(
        text: String,
        labels: List<String>,
        options: ZeroShotOptions = ZeroShotOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): ZeroShot = long(text, labels.toList(), options, windows, options.native())

    /** [classifyLong] on the model's dispatcher. */
    public suspend fun classifyLongAsync(
        text: String,
        labels: List<String>,
        options: ZeroShotOptions = ZeroShotOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): ZeroShot = stoppable(options) { long(text, labels.toList(), options, windows, it) }

    /** [classify] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun classifyAsync(
        text: String,
        labels: List<String>,
        options: ZeroShotOptions = ZeroShotOptions.DEFAULT,
    ): ZeroShot = stoppable(options) { one(text, labels.toList(), options, it) }

    private fun long(
        text: String,
        labels: List<String>,
        options: ZeroShotOptions,
        windows: Windows,
        call: NativeCall,
    ): ZeroShot =
        native { handle.classifyLong(clean(text), labels.map(::clean), options.with(call), windows.native()) }
            .public(labels)

    private fun one(text: String, labels: List<String>, options: ZeroShotOptions, call: NativeCall): ZeroShot =
        native { handle.classify(clean(text), labels.map(::clean), options.with(call)) }.public(labels)

    public companion object : PlatformOpener<ZeroShotClassifier>() {
        override fun from(options: OpenOptions): ZeroShotClassifier = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its head for entailment. */
        @JvmStatic
        public fun fromFile(file: File): ZeroShotClassifier = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): ZeroShotClassifier = opened(options) { m -> ZeroShotClassifier(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): ZeroShotClassifier =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
