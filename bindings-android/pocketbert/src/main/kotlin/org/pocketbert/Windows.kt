package org.pocketbert

import org.pocketbert.internal.LongProgress
import org.pocketbert.internal.Merge
import org.pocketbert.internal.ProgressListener as NativeListener
import org.pocketbert.internal.Windowing

/** How answers of windows become the answer to a long text. */
public enum class WindowMerge {
    /** The mean. */
    MEAN,

    /** The mean, weighted by the tokens that belong to each window. */
    WEIGHTED,

    /** Of each label the largest value: has any part of the text this label? */
    MAX,

    /** The share of windows in which a label wins. Not for vectors. */
    VOTE,
}

/** How far a long text is read. */
public class Progress internal constructor(
    /** Windows answered. */
    public val windows: Int,
    /** UTF-8 bytes up to the end of the last of them. */
    public val done: Long,
    /** UTF-8 bytes of the text; of several texts, or of heads that read it in passes of their own, all of them. */
    public val total: Long,
)

/** Told how far a long text is read. */
public fun interface ProgressListener {
    /**
     * After each window, on the thread that runs the call: return soon.
     *
     * @return false to end the call: it throws [PocketBertException.Cancelled]. What this function throws ends the
     * call, too, and is thrown by it.
     */
    public fun onProgress(progress: Progress): Boolean
}

/** What a listener threw: its call, which runs on the same thread, throws it again. */
private val thrown = ThreadLocal<Throwable?>()

/** Takes what a listener threw on this thread. */
internal fun takeThrown(): Throwable? = thrown.get()?.also { thrown.remove() }

private class Told(val listener: ProgressListener) : NativeListener {
    // Nothing may be thrown into native code.
    @Suppress("TooGenericExceptionCaught")
    override fun progressed(progress: LongProgress): Boolean = try {
        listener.onProgress(Progress(progress.windows, progress.done, progress.total))
    } catch (t: Throwable) {
        thrown.set(t)
        false
    }
}

/** How a long text is read in overlapping windows. */
public class Windows @JvmOverloads constructor(
    /** Tokens of a window; null: as the model says. */
    public val window: Int? = null,
    /** Tokens from the start of one window to the next; null: as the model says. */
    public val stride: Int? = null,
    /** How the windows' answers are merged. */
    public val merge: WindowMerge = WindowMerge.WEIGHTED,
    /** Told after each window; null: nobody. */
    public val onProgress: ProgressListener? = null,
) {
    internal fun native(): Windowing =
        Windowing(window, stride, Merge.valueOf(merge.name), onProgress?.let(::Told))

    public companion object {
        /** As the model says. */
        @JvmField
        public val DEFAULT: Windows = Windows()

        /** As the model says, merged by the largest value: a document is as good as its best part. */
        @JvmField
        public val BEST: Windows = Windows(merge = WindowMerge.MAX)
    }
}
