package org.pocketbert

import java.io.File
import org.pocketbert.internal.AnswerOptions as NativeOptions
import org.pocketbert.internal.Answers as NativeAnswers
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.QuestionAnswerer as NativeTask
import org.pocketbert.internal.TextPair as NativePair

/** How to answer. */
public class AnswerOptions private constructor(builder: Builder) : CallOptions(builder) {
    /** At most this many answers, 1 to 100; none overlaps another. */
    public val topK: Int = builder.topK

    /** The longest answer in tokens. */
    public val maxTokens: Int = builder.maxTokens

    /** Widen answers to whole words. */
    public val wholeWords: Boolean = builder.wholeWords

    /** No answer if the null answer is better by more than this; null: as the bundle says. */
    public val noAnswer: Float? = builder.noAnswer

    /** How long contexts are read. */
    public val windows: Windows = builder.windows

    internal fun with(call: NativeCall): NativeOptions =
        NativeOptions(topK, maxTokens, wholeWords, noAnswer, windows.native(), call)

    /** Sets what [AnswerOptions] has. */
    public class Builder : CallOptions.Builder() {
        /** See [AnswerOptions.topK]. */
        public var topK: Int = 1

        /** See [AnswerOptions.maxTokens]. */
        public var maxTokens: Int = 30

        /** See [AnswerOptions.wholeWords]. */
        public var wholeWords: Boolean = true

        /** See [AnswerOptions.noAnswer]. */
        public var noAnswer: Float? = null

        /** See [AnswerOptions.windows]. */
        public var windows: Windows = Windows.DEFAULT

        /** The options. */
        public fun build(): AnswerOptions = AnswerOptions(this)
    }

    public companion object {
        /** One answer of at most 30 tokens, in whole words. */
        @JvmField
        public val DEFAULT: AnswerOptions = Builder().build()

        /** `AnswerOptions { … }`. */
        public operator fun invoke(set: Builder.() -> Unit): AnswerOptions = Builder().apply(set).build()
    }
}

/** A stretch of the context. */
public class Answer internal constructor(
    /** 0 to 1. */
    public val score: Float,
    /** What answers are ranked by. */
    public val logit: Float,
    /** Where it is in the context. */
    public val span: TextSpan,
) {
    /** Its part of [context]. */
    public fun of(context: String): String = span.of(context)
}

/** What was found for one question. */
public class Answers internal constructor(
    /** The best first. They are here also where [noAnswer] says not to trust them. */
    public val answers: List<Answer>,
    /** The context does not answer the question. */
    public val noAnswer: Boolean,
    /** The null answer's logits less the best answer's; [AnswerOptions.noAnswer] is compared with it. */
    public val nullMargin: Float,
    /** The null answer's score. */
    public val nullScore: Float,
    /** Windows in which the context was read. */
    public val windows: Int,
    /** The model's version. */
    public val modelVersion: String,
) {
    /** The best answer, if there is one to trust. */
    public val best: Answer? get() = if (noAnswer) null else answers.firstOrNull()
}

internal fun NativeAnswers.public(): Answers =
    Answers(
        answers.map { Answer(it.score, it.logit, it.span.public()) }, noAnswer, nullMargin, nullScore, windows, modelVersion,
    )

/**
 * Questions to stretches of a context, which may have any length.
 *
 * For sharing, threads and closing see [Task].
 */
public class QuestionAnswerer internal constructor(model: Model, head: String?, owned: Boolean) : Task(model, owned) {
    private val handle = native { NativeTask.create(model.handle, head) }
    override val common: Handle = Handle(
        handle::load, handle::prewarm, handle::state, handle::metricsJson, handle::metricsPrometheus,
        handle::configureMetrics, handle::watchDrift, handle::drift, handle::close,
    )

    /** A task on [model], which other tasks may share; [head] names one of its heads. */
    @JvmOverloads
    public constructor(model: Model, head: String? = null) : this(model, head, false)

    /** Answers [question] from [context]. */
    @JvmOverloads
    public fun answer(question: String, context: String, options: AnswerOptions = AnswerOptions.DEFAULT): Answers =
        one(question, context, options, options.native())

    /** Answers pairs of question ([TextPair.text]) and context ([TextPair.pair]). */
    @JvmOverloads
    public fun answer(pairs: List<TextPair>, options: AnswerOptions = AnswerOptions.DEFAULT): List<Answers> =
        many(pairs, options, options.native())

    /** [answer] on the model's dispatcher; it stops with its coroutine. */
    public suspend fun answerAsync(
        question: String,
        context: String,
        options: AnswerOptions = AnswerOptions.DEFAULT,
    ): Answers = stoppable(options) { one(question, context, options, it) }

    /** [answer] of several pairs on the model's dispatcher. */
    public suspend fun answerAsync(
        pairs: List<TextPair>,
        options: AnswerOptions = AnswerOptions.DEFAULT,
    ): List<Answers> = stoppable(options) { many(pairs, options, it) }

    private fun one(question: String, context: String, options: AnswerOptions, call: NativeCall): Answers =
        native { handle.answer(clean(question), clean(context), options.with(call)) }.public()

    private fun many(pairs: List<TextPair>, options: AnswerOptions, call: NativeCall): List<Answers> {
        val all: List<NativePair> = pairs.map { it.native() }
        return native { handle.answerBatch(all, options.with(call)) }.map { it.public() }
    }

    public companion object : PlatformOpener<QuestionAnswerer>() {
        override fun from(options: OpenOptions): QuestionAnswerer = fromOptions(options)

        /** Opens a bundle, an `.onnx` file or a folder with one, and takes its question answering head. */
        @JvmStatic
        public fun fromFile(file: File): QuestionAnswerer = fromOptions { file(file) }

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): QuestionAnswerer = opened(options) { m -> QuestionAnswerer(m, options.head, true) }

        /** `fromOptions { file(path) }`. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): QuestionAnswerer =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
