package org.pocketbert

import java.io.File
import kotlinx.coroutines.flow.Flow
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.EmbedOptions as NativeOptions
import org.pocketbert.internal.Pooling as NativePooling
import org.pocketbert.internal.Role as NativeRole
import org.pocketbert.internal.TextEmbedder as NativeTask
import org.pocketbert.internal.Vector
import org.pocketbert.internal.VectorFormat as NativeFormat
import org.pocketbert.internal.vectorConvert
import org.pocketbert.internal.vectorCosine
import org.pocketbert.internal.vectorDot
import org.pocketbert.internal.vectorNearest
import org.pocketbert.internal.vectorRead
import org.pocketbert.internal.vectorTruncate

/** How the numbers of a vector are kept. */
public enum class VectorFormat {
    /** Four bytes each. */
    F32,

    /** Two bytes each. */
    F16,

    /** One byte each, and a scale. */
    I8,
}

/** How rows of tokens become one vector. */
public enum class Pooling {
    /** The first token's row. */
    FIRST,

    /** The mean. */
    MEAN,

    /** The largest value of each channel. */
    MAX,
}

/** What a text is: some models want other words put in front of questions than of what is searched. */
public enum class Role {
    /** Any text. */
    TEXT,

    /** What is searched for. */
    QUERY,

    /** What is searched in. */
    DOCUMENT,
}

/** How to embed. */
public class EmbedOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** How rows become one vector; null: as the bundle says. */
    public val pooling: Pooling? = builder.pooling

    /** Divide by the length; null: as the bundle says. */
    public val normalize: Boolean? = builder.normalize

    /** Keep the first dimensions; null: all. */
    public val dims: Int? = builder.dims

    /** How numbers are kept. */
    public val format: VectorFormat = builder.format

    /** Which of the bundle's prefixes is put in front. */
    public val role: Role = builder.role

    /** This prefix instead. */
    public val prefix: String? = builder.prefix

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(pooling?.let { NativePooling.valueOf(it.name) }, normalize, dims, NativeFormat.valueOf(format.name),
            NativeRole.valueOf(role.name), prefix?.let(::clean), tooLong.native(), maxTokens, call)

    /** Sets what [EmbedOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [EmbedOptions.pooling]. */
        public var pooling: Pooling? = null

        /** See [EmbedOptions.normalize]. */
        public var normalize: Boolean? = null

        /** See [EmbedOptions.dims]. */
        public var dims: Int? = null

        /** See [EmbedOptions.format]. */
        public var format: VectorFormat = VectorFormat.F32

        /** See [EmbedOptions.role]. */
        public var role: Role = Role.TEXT

        /** See [EmbedOptions.prefix]. */
        public var prefix: String? = null

        /** See [EmbedOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [EmbedOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): EmbedOptions = EmbedOptions(this)
    }

    public companion object {
        /** All dimensions as the bundle says, f32. */
        @JvmField
        public val DEFAULT: EmbedOptions = Builder().build()

        /** `EmbedOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): EmbedOptions = Builder().apply(set).build()
    }
}

/** A vector. It knows the model that made it: vectors of different models cannot be compared. */
public class Embedding private constructor(private val vector: Vector) {
    private val numbers = floats(vector.values)

    /** How its numbers are kept. */
    public val format: VectorFormat get() = VectorFormat.valueOf(vector.format.name)

    /** Its dimensions. */
    public val dims: Int get() = numbers.size

    /** Names model, head and pooling. */
    public val origin: String get() = vector.origin

    /** Its numbers: a copy. */
    public fun values(): FloatArray = numbers.copyOf()

    /** Its stored form, the same in every language: a copy. */
    public fun toBytes(): ByteArray = vector.stored.copyOf()

    /** The cosine with [other], -1 to 1. */
    public fun cosine(other: Embedding): Float = native { vectorCosine(vector.stored, other.vector.stored) }

    /** The scalar product with [other]. */
    public fun dot(other: Embedding): Float = native { vectorDot(vector.stored, other.vector.stored) }

    /** The same vector in another format. */
    public fun toFormat(format: VectorFormat): Embedding =
        Embedding(native { vectorConvert(vector.stored, NativeFormat.valueOf(format.name)) })

    /** Its first [dims] dimensions. */
    public fun truncated(dims: Int): Embedding = Embedding(native { vectorTruncate(vector.stored, dims) })

    /** The [topK] of [candidates] that are nearest to this one, the nearest first. */
    public fun nearest(candidates: List<Embedding>, topK: Int): List<Neighbour> =
        native { vectorNearest(vector.stored, candidates.map { it.vector.stored }, topK) }
            .map { Neighbour(it.index, it.similarity) }

    public companion object {
        /** Reads what [toBytes] wrote. */
        @JvmStatic
        public fun fromBytes(bytes: ByteArray): Embedding = Embedding(Library.ready { vectorRead(bytes) })

        internal fun of(vector: Vector): Embedding = Embedding(vector)
    }
}

internal fun embedding(vector: Vector): Embedding = Embedding.of(vector)

/** A candidate that was found. */
public class Neighbour internal constructor(
    /** Its index among the candidates. */
    public val index: Int,
    /** Its cosine with the query. */
    public val similarity: Float,
)

/**
 * Texts to vectors, to compare and search.
 *
 * For sharing, threads and closing see [Task].
 */
public class TextEmbedder internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** Dimensions of its vectors. */
    public val dims: Int by lazy { native { handle.dims() } }

    /** The vector of [text]. */
    @JvmOverloads
    public fun embed(text: String, options: EmbedOptions = EmbedOptions.DEFAULT): Embedding =
        embedding(native { handle.embed(clean(text), options.with(options.native())) })

    /** The vectors of texts; each is, bit for bit, the one that the text gets alone. */
    @JvmOverloads
    public fun embed(texts: List<String>, options: EmbedOptions = EmbedOptions.DEFAULT): List<Embedding> =
        many(texts, options, options.native())

    /** The vector of a text of any length, read in windows. */
    @JvmOverloads
    public fun embedLong(
        text: String,
        options: EmbedOptions = EmbedOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): Embedding = embedding(native { handle.embedLong(clean(text), options.with(options.native()), windows.native()) })

    /** [embed] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun embedAsync(text: String, options: EmbedOptions = EmbedOptions.DEFAULT): Embedding =
        stoppable(options) { embedding(handle.embed(clean(text), options.with(it))) }

    /** [embed] of several texts on the model's dispatcher. */
    public suspend fun embedAsync(
        texts: List<String>,
        options: EmbedOptions = EmbedOptions.DEFAULT,
    ): List<Embedding> = stoppable(options) { many(texts, options, it) }

    /** Vectors of texts as they come, in their order; up to [batch] of them wait for one call. */
    @JvmOverloads
    public fun embed(
        texts: Flow<String>,
        options: EmbedOptions = EmbedOptions.DEFAULT,
        batch: Int = 16,
    ): Flow<Embedding> = texts.inBatches(batch) { embedAsync(it, options) }

    private fun many(texts: List<String>, options: EmbedOptions, call: NativeCall): List<Embedding> =
        native { handle.embedBatch(texts.map(::clean), options.with(call)) }.map(::embedding)

    public companion object : PlatformOpener<TextEmbedder>() {
        override fun from(options: OpenOptions): TextEmbedder = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its first embedding head. */
        @JvmStatic
        public fun fromFile(file: File): TextEmbedder = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): TextEmbedder = opened(options) { m -> TextEmbedder(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): TextEmbedder =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
