package org.pocketbert

import java.io.File
import java.io.FileDescriptor
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import org.pocketbert.internal.Descriptors
import org.pocketbert.internal.Model as NativeModel
import org.pocketbert.internal.ModelState
import org.pocketbert.internal.OpenOptions as NativeOptions

/** How far a model or task is from answering at full speed. */
public enum class LoadState {
    /** Not opened yet; the first call will. */
    UNLOADED,

    /** A thread is opening it. */
    LOADING,

    /** It is open; the first call is slower, since weights come into memory then. */
    LOADED,

    /** It has answered once. */
    PREWARMED,
}

internal fun ModelState.public(): LoadState = LoadState.valueOf(name)

/** Where a model is, and how it is opened: what `fromOptions { }` of every task sets. */
public class OpenOptions private constructor(builder: Builder) {
    internal val source: Source =
        requireArgument(builder.source, "say where the model is: `file`, `bytes` or `descriptor`")

    /** The head of the model that a task uses; null: the usual one. */
    public val head: String? = builder.head

    /** Read the file into memory instead of mapping it: for files that may change while they are open. */
    public val copyIntoMemory: Boolean = builder.copyIntoMemory

    /** Leave the check of the weights' hash to [Model.verifyWeights]. */
    public val deferWeightsHash: Boolean = builder.deferWeightsHash

    /** Open at the first call, or at `load` or `prewarm`, instead of now. */
    public val lazy: Boolean = builder.lazy

    /** Where suspending calls run. */
    public val dispatcher: CoroutineDispatcher = builder.dispatcher

    /** Sets what [OpenOptions] has, and checks it in [build]. */
    public class Builder : PlatformSources<Builder>() {
        internal var source: Source? = null

        override fun assetFile(file: AssetFile): Builder = apply { source = Source.OfAsset(file) }

        /** See [OpenOptions.head]. */
        public var head: String? = null

        /** See [OpenOptions.copyIntoMemory]. */
        public var copyIntoMemory: Boolean = false

        /** See [OpenOptions.deferWeightsHash]. */
        public var deferWeightsHash: Boolean = false

        /** See [OpenOptions.lazy]. */
        public var lazy: Boolean = false

        /** See [OpenOptions.dispatcher]; at first [Dispatchers.Default]. */
        public var dispatcher: CoroutineDispatcher = Dispatchers.Default

        /** A bundle, an `.onnx` file, or a folder with one. */
        public fun file(file: File): Builder = apply { source = Source.OfFile(file) }

        /** A bundle in memory. */
        public fun bytes(bytes: ByteArray): Builder = apply { source = Source.OfBytes(bytes) }

        /**
         * [length] bytes at [offset] of an open file, such as an asset that an APK stores uncompressed: mapped where
         * they are, not copied. The descriptor may be closed when the model is open or, opened lazily, right after
         * the constructor.
         */
        public fun descriptor(descriptor: FileDescriptor, offset: Long, length: Long): Builder =
            apply { source = Source.OfDescriptor(descriptor, offset, length) }

        /** The options. */
        public fun build(): OpenOptions = OpenOptions(this)
    }

    internal sealed class Source {
        class OfFile(val file: File) : Source()
        class OfBytes(val bytes: ByteArray) : Source()
        class OfDescriptor(val descriptor: FileDescriptor, val offset: Long, val length: Long) : Source()
        class OfAsset(val file: AssetFile) : Source()
    }
}

internal fun <T : Any> requireArgument(value: T?, message: String): T =
    value ?: throw PocketBertException.InvalidArgument(message)

/** One thing a model can do. */
public class HeadInfo internal constructor(
    /** Its name, for [OpenOptions.head]. */
    public val name: String,
    /** What it does, such as `text-classification`. */
    public val task: String,
    /** Its labels by index; empty where it has none. */
    public val labels: List<String>,
    /** What it does, for people. */
    public val description: String,
)

/** Facts of an open model. */
public class ModelInfo internal constructor(
    /** Its name. */
    public val name: String,
    /** Its version; answers carry it. */
    public val version: String,
    /** Its licence; empty where it says none. */
    public val license: String,
    /** What it is, for people. */
    public val description: String,
    /** 64 hexadecimal digits that name it. */
    public val fingerprint: String,
    /** Most tokens of one text. */
    public val maxTokens: Int,
    /** Size of the bundle in bytes; 0 for other files. */
    public val bytes: Long,
    /** What it can do; empty for other files than bundles. */
    public val heads: List<HeadInfo>,
)

/** What a self-test found. */
public class SelfTestReport internal constructor(
    /** Every case has the recorded bits on every kernel of this CPU. */
    public val passed: Boolean,
    /** Cases in the bundle. */
    public val cases: Int,
    /** Kernels that were tried. */
    public val kernels: List<String>,
    /** Values that were compared. */
    public val values: Long,
    /** What differs. */
    public val failures: List<String>,
)

/** A token of a text. */
public class Token internal constructor(
    /** Its id. */
    public val id: Int,
    /** As the vocabulary spells it. */
    public val text: String,
    /** Where it is; empty for one that the tokenizer added. */
    public val span: TextSpan,
    /** The tokenizer added it. */
    public val isSpecial: Boolean,
)

/**
 * A model that several tasks share.
 *
 * ## Sharing
 * Open it once and give it to as many tasks as you like: weights are in memory once. A task that you open by a file of
 * its own has a model of its own.
 *
 * ## Threads
 * Every function may be called from any thread, also at the same time.
 *
 * ## Closing
 * Close it when all tasks on it are made or closed: they keep what they need. [close] never waits and never harms a
 * call that is running; memory is freed when the last of them ends.
 */
public class Model private constructor(
    internal val handle: NativeModel,
    internal val dispatcher: CoroutineDispatcher,
) : AutoCloseable {
    /** What it is; opens it if need be. */
    public val info: ModelInfo by lazy {
        val i = native { handle.info() }
        val heads = i.heads.map { HeadInfo(it.name, it.task, it.labels, it.description) }
        ModelInfo(i.name, i.version, i.license, i.description, i.fingerprint, i.maxLength, i.bytes, heads)
    }

    /** Whether it is open. */
    public val state: LoadState get() = native { handle.state() }.public()

    /** Opens it if it is not open yet. */
    public fun load(): Unit = native { handle.load() }

    /** Checks the weights' hash, where opening left that out. */
    public fun verifyWeights(): Unit = native { handle.verifyWeights() }

    /** Runs the bundle's test cases on every kernel of this CPU. */
    public fun selfTest(): SelfTestReport = native { handle.selfTest() }
        .let { SelfTestReport(it.passed, it.cases, it.kernels, it.values, it.failures) }

    /** The tokens of [text] as the model reads it. */
    @JvmOverloads
    public fun tokenize(text: String, tooLong: TooLong = TooLong.KEEP_START): List<Token> =
        native { handle.tokenize(clean(text), tooLong.native(), null) }
            .tokens.map { Token(it.id, it.text, it.span.public(), it.special) }

    /**
     * Gives back scratch memory that idle runs keep for the next one. Harmless at any time; the next call takes a
     * little longer. Weights are mapped from the file, so the system drops them by itself.
     */
    public fun trimMemory(): Unit = native { handle.trimMemory() }

    override fun close(): Unit = handle.close()

    public companion object : PlatformOpener<Model>() {
        override fun from(options: OpenOptions): Model = fromOptions(options)

        /** Opens a bundle, an `.onnx` file, or a folder with one. */
        @JvmStatic
        public fun fromFile(file: File): Model = fromOptions(OpenOptions.Builder().file(file).build())

        /** Opens what [options] say. */
        @JvmStatic
        public fun fromOptions(options: OpenOptions): Model = Library.ready {
            val how = NativeOptions(options.copyIntoMemory, options.deferWeightsHash, options.lazy)
            val handle = when (val s = options.source) {
                is OpenOptions.Source.OfFile -> NativeModel.fromPath(s.file.path, how)
                is OpenOptions.Source.OfBytes -> NativeModel.fromBytes(s.bytes, how)
                is OpenOptions.Source.OfDescriptor ->
                    NativeModel.fromDescriptor(Descriptors.number(s.descriptor), s.offset, s.length, how)
                is OpenOptions.Source.OfAsset ->
                    s.file.range()?.use { NativeModel.fromDescriptor(it.fd, it.offset, it.length, how) }
                        ?: NativeModel.fromPath(s.file.copy().path, how)
            }
            Model(handle, options.dispatcher)
        }

        /** Opens what [options] say. */
        public fun fromOptions(options: OpenOptions.Builder.() -> Unit): Model =
            fromOptions(OpenOptions.Builder().apply(options).build())
    }
}
