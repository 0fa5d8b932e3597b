package org.pocketbert

import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.pocketbert.internal.CallOptions as NativeCall
import org.pocketbert.internal.CancelToken as NativeToken
import org.pocketbert.internal.Drift
import org.pocketbert.internal.ModelState

/** What the generated classes have in common, as functions. */
internal class Handle(
    val load: () -> Unit,
    val prewarm: () -> Unit,
    val state: () -> ModelState,
    val metricsJson: () -> String,
    val metricsPrometheus: () -> String,
    val configureMetrics: (Boolean, Float?) -> Unit,
    val watchDrift: (Long?, Double?) -> Boolean,
    val drift: () -> Drift?,
    val close: () -> Unit,
)

/**
 * What all tasks have in common.
 *
 * ## Share one instance
 * A task is made to be used for as long as the app lives, by everything in it. Opening one takes milliseconds, a
 * call on an open one needs no set-up.
 *
 * ## Threads
 * Every function may be called from any thread, also at the same time; calls run side by side, each on the thread
 * that makes it. A call takes milliseconds: not on the main thread of an app. The suspending calls (`…Async`) move to
 * [OpenOptions.dispatcher] by themselves, and when their coroutine is cancelled the run really stops.
 *
 * ## Closing
 * [close] is for tasks that live shorter than the process. A call that is running when its task is closed ends
 * normally, and memory is freed after it; calls that start later throw [PocketBertException.FailedPrecondition].
 */
public abstract class Task internal constructor(internal val model: Model, private val owned: Boolean) : AutoCloseable {
    internal abstract val common: Handle

    /** Opens the model if it is not open yet. */
    public fun load(): Unit = native { common.load() }

    /** Opens the model if need be and answers something short, so that the next call is a warm one. */
    public fun prewarm(): Unit = native { common.prewarm() }

    /** [prewarm] off the calling thread. */
    public suspend fun prewarmAsync(): Unit = withContext(model.dispatcher) { prewarm() }

    /** How far it is from answering at full speed. */
    public val state: LoadState get() = native { common.state() }.public()

    /** The numbers of this object (times by stage, sizes, errors, drift) as a JSON array; never a text. */
    public fun metricsJson(): String = native { common.metricsJson() }

    /** The same in the Prometheus text format. */
    public fun metricsPrometheus(): String = native { common.metricsPrometheus() }

    /** Counts from now on, or stops counting; answers less sure than [lowConfidence] (0 to 1) count as such. */
    @JvmOverloads
    public fun configureMetrics(enabled: Boolean, lowConfidence: Float? = null): Unit =
        native { common.configureMetrics(enabled, lowConfidence) }

    /**
     * Compares the texts of the calls that follow with the baseline in the bundle, [window] texts at a time.
     *
     * @return false if the bundle has no baseline.
     */
    @JvmOverloads
    public fun watchDrift(window: Long? = null, threshold: Double? = null): Boolean =
        native { common.watchDrift(window, threshold) }

    /** The latest window that was compared; null before the first. */
    public fun drift(): DriftReport? = native { common.drift() }?.let { d ->
        DriftReport(d.window, d.texts, d.score, d.drifted, d.axes.map { DriftAxis(it.name, it.psi, it.limit, it.drifted) })
    }

    /** See [Model.trimMemory]: call it from `onTrimMemory`. */
    public fun trimMemory(): Unit = model.trimMemory()

    override fun close() {
        common.close()
        if (owned) model.close()
    }

    /** Runs [block] on the model's dispatcher; the run stops when the coroutine is cancelled. */
    internal suspend fun <T> stoppable(options: CallOptions, block: (NativeCall) -> T): T = coroutineScope {
        val token = options.cancel?.handle ?: native { NativeToken.create() }
        // Trips the token on the thread that cancels, at once. A caller's own token stays the caller's.
        val own = options.cancel == null
        val watcher = launch(Dispatchers.Unconfined, CoroutineStart.UNDISPATCHED) {
            try {
                awaitCancellation()
            } finally {
                if (own) runCatching { token.cancel() }
            }
        }
        try {
            withContext(model.dispatcher) {
                try {
                    native { block(options.native(token)) }
                } catch (e: PocketBertException.Cancelled) {
                    currentCoroutineContext().ensureActive()
                    throw e
                }
            }
        } finally {
            watcher.cancel()
            if (own) token.close()
        }
    }
}

/** Collects [batch] texts at a time and answers them in one call each. */
internal fun <I, O> Flow<I>.inBatches(batch: Int, answer: suspend (List<I>) -> List<O>): Flow<O> {
    if (batch < 1) throw PocketBertException.InvalidArgument("`batch` is $batch: take at least one text at a time")
    val texts = this
    return flow {
        val held = ArrayList<I>(batch)
        texts.collect {
            held.add(it)
            if (held.size == batch) {
                answer(held).forEach { a -> emit(a) }
                held.clear()
            }
        }
        if (held.isNotEmpty()) answer(held).forEach { a -> emit(a) }
    }
}

/** One axis of a [DriftReport]. */
public class DriftAxis internal constructor(
    /** What is compared, such as `confidence`. */
    public val name: String,
    /** Population stability index: 0 for equal shares. */
    public val psi: Double,
    /** The index above which it counts as drifted. */
    public val limit: Double,
    /** Whether it did. */
    public val drifted: Boolean,
)

/** What a window of texts looked like beside the bundle's baseline. */
public class DriftReport internal constructor(
    /** Number of the window, from 1. */
    public val window: Long,
    /** Texts in it. */
    public val texts: Long,
    /** The largest index. */
    public val score: Double,
    /** Whether any axis drifted. */
    public val drifted: Boolean,
    /** The axes. */
    public val axes: List<DriftAxis>,
)
