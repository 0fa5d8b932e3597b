package org.pocketbert

import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.CancelToken as NativeToken
import org.pocketbert.internal.TooLong as NativeTooLong

/**
 * Stops calls from another thread.
 *
 * Give it to calls by [CallOptions.Builder.cancel]; [cancel] then ends them at their next operator, about a sixth of
 * a layer later, with [PocketBertException.Cancelled]. A token stays tripped. The suspending calls need none: they
 * stop with their coroutine.
 */
public class CancelToken : AutoCloseable {
    internal val handle: NativeToken = Library.ready { NativeToken.create() }

    /** Trips it. Any thread may; twice is harmless. */
    public fun cancel(): Unit = native { handle.cancel() }

    /** Whether it is tripped. */
    public val isCancelled: Boolean get() = native { handle.isCancelled() }

    /** Frees it. Calls that were given it are not concerned. */
    override fun close(): Unit = handle.close()
}

/** What to do with a text that is longer than the model takes. */
public enum class TooLong {
    /** Keep its start. */
    KEEP_START,

    /** Keep its end. */
    KEEP_END,

    /** Keep both ends. */
    KEEP_BOTH_ENDS,

    /** Throw [PocketBertException.OutOfRange]. */
    REFUSE,
}

internal fun TooLong.native(): NativeTooLong = NativeTooLong.valueOf(name)

/** How a call of any task runs. None of it changes an answer. */
public open class CallOptions internal constructor(builder: Builder) {
    /** Threads of the run, 1 to 64. */
    public val threads: Int = builder.threads

    /** The kernels to use, such as `neon-dotprod`; null: the fastest that the CPU has. */
    public val kernel: String? = builder.kernel

    /** Milliseconds after which the call throws [PocketBertException.DeadlineExceeded]; null: never. */
    public val deadlineMillis: Long? = builder.deadlineMillis

    /** Stops the call from another thread. */
    public val cancel: CancelToken? = builder.cancel

    internal fun native(token: NativeToken? = null): NativeCall =
        NativeCall(threads, kernel, token ?: cancel?.handle, deadlineMillis)

    /** Sets what [CallOptions] has. */
    public open class Builder internal constructor() {
        /** See [CallOptions.threads]; at first 1. */
        public var threads: Int = 1

        /** See [CallOptions.kernel]. */
        public var kernel: String? = null

        /** See [CallOptions.deadlineMillis]. */
        public var deadlineMillis: Long? = null

        /** See [CallOptions.cancel]. */
        public var cancel: CancelToken? = null
    }
}
