package org.pocketbert

import java.io.File
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.FillMaskOptions as NativeOptions
import org.pocketbert.internal.MaskFill as NativeFill
import org.pocketbert.internal.MaskFiller as NativeTask

/** How to fill masks. */
public class FillMaskOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** Candidates per mask. */
    public val topK: Int = builder.topK

    /** Only these tokens; empty: all. */
    public val targets: List<String> = builder.targets.toList()

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(topK, targets, tooLong.native(), maxTokens, call)

    /** Sets what [FillMaskOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [FillMaskOptions.topK]. */
        public var topK: Int = 5

        /** See [FillMaskOptions.targets]. */
        public var targets: List<String> = emptyList()

        /** See [FillMaskOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [FillMaskOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): FillMaskOptions = FillMaskOptions(this)
    }

    public companion object {
        /** Five candidates. */
        @JvmField
        public val DEFAULT: FillMaskOptions = Builder().build()

        /** `FillMaskOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): FillMaskOptions = Builder().apply(set).build()
    }
}

/** A token for a mask. */
public class Candidate internal constructor(
    /** As the vocabulary spells it; `##` goes on a word. */
    public val token: String,
    /** Its id. */
    public val id: Int,
    /** 0 to 1. */
    public val probability: Float,
    /** The text with this mask replaced. */
    public val filled: String,
)

/** A mask of the text. */
public class FilledMask internal constructor(
    /** Where it is. */
    public val span: TextSpan,
    /** The most probable first. */
    public val candidates: List<Candidate>,
)

/** The answer to one text. */
public class MaskFill internal constructor(
    /** In the order of the text. */
    public val masks: List<FilledMask>,
    /** Tokens that the model saw. */
    public val tokenCount: Int,
    /** The text was cut to fit. */
    public val truncated: Boolean,
    /** The model's version. */
    public val modelVersion: String,
)

private fun NativeFill.public(): MaskFill = MaskFill(
    masks.map { m ->
        FilledMask(m.span.public(), m.candidates.map { Candidate(it.token, it.id, it.probability, it.filled) })
    },
    tokenCount,
    truncated,
    modelVersion,
)

/**
 * Tokens for the gaps of a text.
 *
 * For sharing, threads and closing see [Task].
 */
public class MaskFiller internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** What to write where a token is missing, such as `[MASK]`. */
    public val maskToken: String by lazy { native { handle.maskToken() } }

    /** Fills the masks of [text]. */
    @JvmOverloads
    public fun fill(text: String, options: FillMaskOptions = FillMaskOptions.DEFAULT): MaskFill =
        native { handle.fill(clean(text), options.with(options.native())) }.public()

    /** Fills the masks of texts. */
    @JvmOverloads
    public fun fill(texts: List<String>, options: FillMaskOptions = FillMaskOptions.DEFAULT): List<MaskFill> =
        many(texts, options, options.native())

    /** Fills the masks of a text of any length; each sees the window that shows most of its surroundings. */
    @JvmOverloads
    public fun fillLong(
        text: String,
        options: FillMaskOptions = FillMaskOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): MaskFill = native { handle.fillLong(clean(text), options.with(options.native()), windows.native()) }.public()

    /** [fillLong] on the model's dispatcher. */
    public suspend fun fillLongAsync(
        text: String,
        options: FillMaskOptions = FillMaskOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): MaskFill =
        stoppable(options) { handle.fillLong(clean(text), options.with(it), windows.native()).public() }

    /** [fill] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun fillAsync(text: String, options: FillMaskOptions = FillMaskOptions.DEFAULT): MaskFill =
        stoppable(options) { handle.fill(clean(text), options.with(it)).public() }

    private fun many(texts: List<String>, options: FillMaskOptions, call: NativeCall): List<MaskFill> =
        native { handle.fillBatch(texts.map(::clean), options.with(call)) }.map { it.public() }

    public companion object : PlatformOpener<MaskFiller>() {
        override fun from(options: OpenOptions): MaskFiller = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its head that fills masks. */
        @JvmStatic
        public fun fromFile(file: File): MaskFiller = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): MaskFiller = opened(options) { m -> MaskFiller(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): MaskFiller =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
