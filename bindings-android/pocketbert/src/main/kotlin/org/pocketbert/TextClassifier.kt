package org.pocketbert

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlinx.coroutines.flow.Flow
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.Classification as NativeAnswer
import org.pocketbert.internal.ClassifyOptions as NativeOptions
import org.pocketbert.internal.TextClassifier as NativeTask
import org.pocketbert.internal.TextPair as NativePair

/** Two texts that are read together, such as a claim and its evidence. */
public class TextPair(
    /** The first. */
    public val text: String,
    /** The second. */
    public val pair: String,
) {
    internal fun native(): NativePair = NativePair(clean(text), clean(pair))
}

/** How to classify. */
public class ClassifyOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** Keep this many labels, the most probable ones; null: all. */
    public val topK: Int? = builder.topK

    /** Leave out labels that are less probable, 0 to 1; null: the bundle's threshold of each label. */
    public val threshold: Float? = builder.threshold

    /** Only these labels; empty: all. */
    public val allow: List<String> = builder.allow.toList()

    /** All labels but these. Not together with [allow]. */
    public val deny: List<String> = builder.deny.toList()

    /** Judge every label by itself; null: as the bundle says. */
    public val multiLabel: Boolean? = builder.multiLabel

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall) =
        NativeOptions(topK, threshold, allow, deny, multiLabel, tooLong.native(), maxTokens, call)

    /** Sets what [ClassifyOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [ClassifyOptions.topK]. */
        public var topK: Int? = null

        /** See [ClassifyOptions.threshold]. */
        public var threshold: Float? = null

        /** See [ClassifyOptions.allow]. */
        public var allow: List<String> = emptyList()

        /** See [ClassifyOptions.deny]. */
        public var deny: List<String> = emptyList()

        /** See [ClassifyOptions.multiLabel]. */
        public var multiLabel: Boolean? = null

        /** See [ClassifyOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [ClassifyOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): ClassifyOptions = ClassifyOptions(this)
    }

    public companion object {
        /** Every label, one thread. */
        @JvmField
        public val DEFAULT: ClassifyOptions = Builder().build()

        /** `ClassifyOptions { topK = 3 }`. */
        public operator fun invoke(set: Builder.() -> Unit): ClassifyOptions = Builder().apply(set).build()
    }
}

/** A label and how probable it is. */
public class ScoredLabel internal constructor(
    /** The label. */
    public val label: String,
    /** Its number in the head. */
    public val index: Int,
    /** 0 to 1; of a regression head the value itself. */
    public val probability: Float,
) {
    override fun toString(): String = "$label $probability"
}

/** The answer to one text. */
public class Classification internal constructor(
    /** The labels that passed the options, the most probable first. */
    public val labels: List<ScoredLabel>,
    private val logits: FloatArray,
    /** Tokens that the model saw. */
    public val tokenCount: Int,
    /** The text was cut to fit. */
    public val truncated: Boolean,
    /** The model's version. */
    public val modelVersion: String,
) {
    /** The most probable label, if the options left any. */
    public val top: ScoredLabel? get() = labels.firstOrNull()

    /** What the model gave for each label, by index: a copy. */
    public fun logits(): FloatArray = logits.copyOf()

    override fun toString(): String = labels.toString()
}

internal fun floats(bytes: ByteArray): FloatArray =
    FloatArray(bytes.size / 4).also { ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(it) }

internal fun NativeAnswer.public(names: List<String>): Classification = Classification(
    labels.map { ScoredLabel(names[it.index], it.index, it.probability) },
    floats(logits),
    tokenCount,
    truncated,
    modelVersion,
)

/**
 * Texts to labels.
 *
 * ```kotlin
 * val classifier = TextClassifier.fromFile(File("everyday.pbert"))
 * val answer = classifier.classify("book a table for two in Paris")
 * println(answer.top)
 * ```
 *
 * For sharing, threads and closing see [Task].
 */
public class TextClassifier internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A classifier on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** The labels by index. */
    public val labels: List<String> by lazy { native { handle.labels() } }

    /** Classifies [text]. An empty text has an answer like any other. */
    @JvmOverloads
    public fun classify(text: String, options: ClassifyOptions = ClassifyOptions.DEFAULT): Classification =
        one(text, options, options.native())

    /** Classifies texts; each answer is, bit for bit, the one that the text gets alone. */
    @JvmOverloads
    public fun classify(texts: List<String>, options: ClassifyOptions = ClassifyOptions.DEFAULT): List<Classification> =
        many(texts, options, options.native())

    /** Classifies a pair of texts, with a head that was trained on pairs. */
    @JvmOverloads
    public fun classify(pair: TextPair, options: ClassifyOptions = ClassifyOptions.DEFAULT): Classification =
        named { handle.classifyPair(pair.native(), options.with(options.native())) }

    /** Classifies a text of any length, read in windows. */
    @JvmOverloads
    public fun classifyLong(
        text: String,
        options: ClassifyOptions = ClassifyOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): Classification =
        named { handle.classifyLong(clean(text), options.with(options.native()), windows.native()) }

    /** [classify] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun classifyAsync(text: String, options: ClassifyOptions = ClassifyOptions.DEFAULT): Classification =
        stoppable(options) { one(text, options, it) }

    /** [classify] of several texts on the model's dispatcher. */
    public suspend fun classifyAsync(
        texts: List<String>,
        options: ClassifyOptions = ClassifyOptions.DEFAULT,
    ): List<Classification> = stoppable(options) { many(texts, options, it) }

    /** [classifyLong] on the model's dispatcher. */
    public suspend fun classifyLongAsync(
        text: String,
        options: ClassifyOptions = ClassifyOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): Classification =
        stoppable(options) { named { handle.classifyLong(clean(text), options.with(it), windows.native()) } }

    /** Answers to texts as they come, in their order; up to [batch] of them wait for one call. */
    @JvmOverloads
    public fun classify(
        texts: Flow<String>,
        options: ClassifyOptions = ClassifyOptions.DEFAULT,
        batch: Int = 16,
    ): Flow<Classification> = texts.inBatches(batch) { classifyAsync(it, options) }

    private fun one(text: String, options: ClassifyOptions, call: NativeCall): Classification =
        named { handle.classify(clean(text), options.with(call)) }

    private fun many(texts: List<String>, options: ClassifyOptions, call: NativeCall): List<Classification> {
        val names = labels
        return native { handle.classifyBatch(texts.map(::clean), options.with(call)) }.map { it.public(names) }
    }

    /** Asks for the labels first: during the run this object may be closed. */
    private inline fun named(run: () -> NativeAnswer): Classification {
        val names = labels
        return native(run).public(names)
    }

    public companion object : PlatformOpener<TextClassifier>() {
        override fun from(options: OpenOptions): TextClassifier = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its usual classification head. */
        @JvmStatic
        public fun fromFile(file: File): TextClassifier = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): TextClassifier =
            opened(options) { m -> TextClassifier(m, options.head, true) }

        /** `fromOptions { file(path); head = "intent" }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): TextClassifier =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}

/** Opens the model for [make], and closes it again if that fails. */
internal inline fun <T> opened(options: OpenOptions, make: (Model) -> T): T {
    val model = Model.fromOptions(options)
    try {
        return make(model)
    } catch (e: PocketBertException) {
        model.close()
        throw e
    }
}
