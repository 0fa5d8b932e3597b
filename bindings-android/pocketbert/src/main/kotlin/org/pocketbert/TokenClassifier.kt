package org.pocketbert

import java.io.File
import kotlinx.coroutines.flow.Flow
import org.pocketbert.internal.Aggregation as NativeAggregation
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.TagOptions as NativeOptions
import org.pocketbert.internal.TagScheme as NativeScheme
import org.pocketbert.internal.Tagged as NativeTagged
import org.pocketbert.internal.TokenClassifier as NativeTask

/** How labels of tokens become labels of spans, as in Hugging Face's pipeline. */
public enum class Aggregation {
    /** Every token by itself. */
    EACH_TOKEN,

    /** Neighbours of one kind are joined; a span may end inside a word. */
    SIMPLE,

    /** A word has the label of its first token. */
    FIRST,

    /** A word has the label that is most probable on average. */
    AVERAGE,

    /** A word has the label of its surest token. */
    MAX,
}

/** What the first letters of labels mean. */
public enum class TagScheme {
    /** `B-` begins and `I-` goes on; a stray `I-` begins, too. */
    BIO,

    /** The same, strictly. */
    BIO_STRICT,

    /** `B-` begins, `I-` goes on, `L-` ends, `U-` stands alone. */
    BILOU,

    /** Nothing. */
    PLAIN,
}

/** How to tag. */
public class TagOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** How tokens become spans. */
    public val aggregation: Aggregation = builder.aggregation

    /** What prefixes mean; null: as the bundle says. */
    public val scheme: TagScheme? = builder.scheme

    /** Labels that make no span; null: `O`. */
    public val ignore: List<String>? = builder.ignore

    /** Leave out spans with a smaller score, 0 to 1. */
    public val threshold: Float? = builder.threshold

    /** What to keep of a text that is too long. */
    public val tooLong: TooLong = builder.tooLong

    /** Most tokens of a text; null: the model's. */
    public val maxTokens: Int? = builder.maxTokens

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(NativeAggregation.valueOf(aggregation.name), scheme?.let { NativeScheme.valueOf(it.name) }, ignore, threshold, tooLong.native(), maxTokens, call)

    /** Sets what [TagOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [TagOptions.aggregation]. */
        public var aggregation: Aggregation = Aggregation.FIRST

        /** See [TagOptions.scheme]. */
        public var scheme: TagScheme? = null

        /** See [TagOptions.ignore]. */
        public var ignore: List<String>? = null

        /** See [TagOptions.threshold]. */
        public var threshold: Float? = null

        /** See [TagOptions.tooLong]. */
        public var tooLong: TooLong = TooLong.KEEP_START

        /** See [TagOptions.maxTokens]. */
        public var maxTokens: Int? = null

        /** The options. */
        public fun build(): TagOptions = TagOptions(this)
    }

    public companion object {
        /** Words by their first token. */
        @JvmField
        public val DEFAULT: TagOptions = Builder().build()

        /** `TagOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): TagOptions = Builder().apply(set).build()
    }
}

/** A labelled stretch of a text. */
public class Entity internal constructor(
    /** The kind. */
    public val label: String,
    /** 0 to 1. */
    public val score: Float,
    /** Where it is; of words in the words joined by one space. */
    public val span: TextSpan,
    /** Of words: which of them, from the first to before the last; else null. */
    public val words: TextSpan?,
) {
    /** Its part of [text], the text that was tagged. */
    public fun of(text: String): String = span.of(text)

    override fun toString(): String = "$label $span"
}

/** The answer to one text. */
public class Tagged internal constructor(
    /** In the order of the text; they do not overlap. */
    public val entities: List<Entity>,
    /** Tokens that the model saw. */
    public val tokenCount: Int,
    /** The text was cut to fit. */
    public val truncated: Boolean,
    /** The model's version. */
    public val modelVersion: String,
)

internal fun NativeTagged.public(): Tagged = Tagged(
    entities.map { e ->
        val first = e.firstWord
        val last = e.lastWord
        val words = if (first != null && last != null) TextSpan(first, last) else null
        Entity(e.label, e.score, e.span.public(), words)
    },
    tokenCount,
    truncated,
    modelVersion,
)

/**
 * Texts to labelled spans: names, slots, parts of speech.
 *
 * For sharing, threads and closing see [Task].
 */
public class TokenClassifier internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** The labels by index, with their prefixes. */
    public val labels: List<String> by lazy { native { handle.labels() } }

    /** Tags [text]. */
    @JvmOverloads
    public fun tag(text: String, options: TagOptions = TagOptions.DEFAULT): Tagged =
        native { handle.tag(clean(text), options.with(options.native())) }.public()

    /** Tags texts; each answer is, bit for bit, the one that the text gets alone. */
    @JvmOverloads
    public fun tag(texts: List<String>, options: TagOptions = TagOptions.DEFAULT): List<Tagged> =
        many(texts, options, options.native())

    /** Tags a text that is split into words already. */
    @JvmOverloads
    public fun tagWords(words: List<String>, options: TagOptions = TagOptions.DEFAULT): Tagged =
        native { handle.tagWords(words.map(::clean), options.with(options.native())) }.public()

    /** Tags a text of any length, read in windows. */
    @JvmOverloads
    public fun tagLong(
        text: String,
        options: TagOptions = TagOptions.DEFAULT,
        windows: Windows = Windows.DEFAULT,
    ): Tagged = native { handle.tagLong(clean(text), options.with(options.native()), windows.native()) }.public()

    /** [tag] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun tagAsync(text: String, options: TagOptions = TagOptions.DEFAULT): Tagged =
        stoppable(options) { handle.tag(clean(text), options.with(it)).public() }

    /** [tag] of several texts on the model's dispatcher. */
    public suspend fun tagAsync(texts: List<String>, options: TagOptions = TagOptions.DEFAULT): List<Tagged> =
        stoppable(options) { many(texts, options, it) }

    /** Answers to texts as they come, in their order; up to [batch] of them wait for one call. */
    @JvmOverloads
    public fun tag(texts: Flow<String>, options: TagOptions = TagOptions.DEFAULT, batch: Int = 16): Flow<Tagged> =
        texts.inBatches(batch) { tagAsync(it, options) }

    private fun many(texts: List<String>, options: TagOptions, call: NativeCall): List<Tagged> =
        native { handle.tagBatch(texts.map(::clean), options.with(call)) }.map { it.public() }

    public companion object : PlatformOpener<TokenClassifier>() {
        override fun from(options: OpenOptions): TokenClassifier = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its usual tagging head. */
        @JvmStatic
        public fun fromFile(file: File): TokenClassifier = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): TokenClassifier = opened(options) { m -> TokenClassifier(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): TokenClassifier =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
