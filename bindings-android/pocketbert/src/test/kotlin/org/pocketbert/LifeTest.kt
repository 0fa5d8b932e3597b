package org.pocketbert

import java.io.File
import java.io.RandomAccessFile
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.fail
import org.junit.jupiter.api.io.TempDir

/** Opening, sharing, stopping, closing. */
class LifeTest {
    private fun classifier() = TextClassifier.fromFile(tiny)
    private val book get() = "Call me Ishmael. Some years ago, never mind how long. ".repeat(200_000)

    @Test
    fun jniOnLoadRan() = assertTrue(PocketBert.isJniLoaded)

    @Test
    fun states() {
        TextClassifier.fromOptions { file(tiny); lazy = true }.use { c ->
            assertEquals(LoadState.UNLOADED, c.state)
            c.load()
            assertEquals(LoadState.LOADED, c.state)
            c.prewarm()
            assertEquals(LoadState.PREWARMED, c.state)
            val before = c.classify("rain").logits()
            c.trimMemory()
            assertArrayEquals(before, c.classify("rain").logits())
        }
    }

    @Test
    fun opensBytes() {
        val expected = classifier().use { it.classify("rain in Paris").logits() }
        TextClassifier.fromOptions { bytes(tiny.readBytes()) }.use {
            assertArrayEquals(expected, it.classify("rain in Paris").logits())
        }
    }

    @Test
    fun opensPartOfAFile(@TempDir folder: File) {
        val bundle = tiny.readBytes()
        val file = File(folder, "padded").apply { writeBytes(ByteArray(1001) + bundle + ByteArray(7)) }
        val expected = classifier().use { it.classify("rain in Paris").logits() }
        val c = RandomAccessFile(file, "r").use { f ->
            TextClassifier.fromOptions { descriptor(f.fd, 1001, bundle.size.toLong()) }
        }
        c.use { assertArrayEquals(expected, it.classify("rain in Paris").logits()) }
    }

    @Test
    fun thirtyTwoCoroutinesShareOne(): Unit = runBlocking {
        classifier().use { c ->
            val texts = List(32) { "text number $it about rain in Paris" }
            val alone = texts.map { c.classify(it).logits() }
            val together = texts.map { t -> async(Dispatchers.Default) { List(4) { c.classifyAsync(t).logits() } } }.awaitAll()
            for ((a, b) in alone.zip(together)) b.forEach { assertArrayEquals(a, it) }
        }
    }

    @Test
    fun cancelledCoroutinesStopTheRun(): Unit = runBlocking {
        classifier().use { c ->
            c.prewarm()
            val finished = AtomicInteger()
            val job = launch(Dispatchers.Default) {
                try {
                    c.classifyLongAsync(book)
                    finished.incrementAndGet()
                } catch (e: CancellationException) {
                    throw e
                } catch (e: PocketBertException) {
                    fail("a cancelled coroutine saw $e")
                }
            }
            delay(300)
            job.cancelAndJoin()
            assertEquals(0, finished.get())
            // The engine itself says that a run was stopped half-way.
            assertEquals(1, errors(c, "CANCELLED"))
            assertEquals("GetWeather", c.classify("will it rain").top!!.label)
        }
    }

    @Test
    fun tokensAndDeadlinesStopTheRun() {
        classifier().use { c ->
            CancelToken().use { token ->
                val stopper = thread { Thread.sleep(100); token.cancel() }
                assertThrows(PocketBertException.Cancelled::class.java) {
                    c.classifyLong(book, ClassifyOptions { cancel = token })
                }
                stopper.join()
                assertTrue(token.isCancelled)
            }
            val late = assertThrows(PocketBertException.DeadlineExceeded::class.java) {
                c.classifyLong(book, ClassifyOptions { deadlineMillis = 50 })
            }
            assertEquals(4, late.code)
        }
    }

    @Test
    fun closingDuringARun() {
        val c = classifier()
        c.prewarm()
        val text = "Call me Ishmael. ".repeat(20_000)
        val answer = arrayOfNulls<Classification>(1)
        val runner = thread { answer[0] = c.classifyLong(text) }
        Thread.sleep(100)
        // The run is still going on: else this test would say nothing.
        assertTrue(runner.isAlive)
        c.close()
        c.close()
        runner.join()
        assertTrue(answer[0] != null)
        val e = assertThrows(PocketBertException.FailedPrecondition::class.java) { c.classify("rain") }
        assertTrue("closed" in e.message!!)
    }

    /**
     * `POCKETBERT_ROUNDS`: how often a model is opened and closed; ten times as many calls. The JVM itself grows at first
     * (compiled code, classes, the compilers' own memory), so growth counts from the half on: a leak would go on.
     */
    @Test
    fun noGrowth() {
        val once = { TextClassifier.fromOptions { file(tiny); deferWeightsHash = true }.use { it.classify("rain") } }
        val steps = classifier().use { c ->
            List(4) {
                repeat(rounds / 4) { once() }
                repeat(10 * rounds / 4) { c.classify("will it rain in Paris tomorrow") }
                resident()
            }
        }
        println("KiB resident after each quarter of $rounds openings and ${10 * rounds} calls: ${steps.map { it / 1024 }}")
        val grown = steps[3] - steps[1]
        // Java's heap is resident from the start. The model has 1.5 MB: six that stayed behind would show.
        assertTrue(grown < 8L shl 20, "$grown bytes more: $steps")
    }

    @Test
    fun logsAreSilentAtFirstAndNeverHoldTheText() {
        val lines = ConcurrentLinkedQueue<String>()
        val secret = "zanzibarish"
        PocketBert.setLogSink { level, message ->
            lines.add("$level $message")
            error("a sink that fails")
        }
        fun drift() = TextClassifier.fromFile(everyday).use { c ->
            assertTrue(c.watchDrift(50, 0.01))
            repeat(50) { c.classify("$secret $secret") }
            assertTrue(c.drift()!!.drifted)
        }
        drift()
        assertTrue(lines.isEmpty(), "silent until asked: $lines")
        PocketBert.setLogLevel(LogLevel.TRACE)
        try {
            drift()
        } finally {
            PocketBert.setLogLevel(LogLevel.OFF)
        }
        // Drift is a warning, so something was said.
        assertTrue(lines.any { it.startsWith("WARN ") }, lines.toString())
        assertTrue(lines.none { secret in it }, lines.toString())
    }

    @Test
    fun errorsHaveKinds(@TempDir folder: File) {
        val missing = assertThrows(PocketBertException.NotFound::class.java) { TextClassifier.fromFile(File("/no/such.pbert")) }
        assertEquals(5, missing.code)
        assertThrows(PocketBertException.InvalidArgument::class.java) { TextClassifier.fromOptions { head = "x" } }
        assertThrows(PocketBertException.NotFound::class.java) { TextClassifier.fromOptions { file(tiny); head = "x" } }
        val cut = File(folder, "cut.pbert").apply { writeBytes(tiny.readBytes().copyOf(5000)) }
        assertThrows(PocketBertException.DataLoss::class.java) { TextClassifier.fromFile(cut) }
        classifier().use { c ->
            assertThrows(PocketBertException.InvalidArgument::class.java) { c.classify("a", ClassifyOptions { topK = 0 }) }
            assertThrows(PocketBertException.InvalidArgument::class.java) { c.classify("a", ClassifyOptions { threads = 0 }) }
            assertThrows(PocketBertException.OutOfRange::class.java) {
                c.classify("rain ".repeat(9000), ClassifyOptions { tooLong = TooLong.REFUSE })
            }
        }
        assertThrows(PocketBertException.DataLoss::class.java) { Embedding.fromBytes(byteArrayOf(1, 2, 3)) }
    }
}
