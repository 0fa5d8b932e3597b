package org.pocketbert

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertSame
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** How far long texts are read. */
class ProgressTest {
    private val text = "will it rain [MASK]? ".repeat(100)

    /** Every long call, on [windows]. */
    private fun calls(model: Model, windows: Windows): List<() -> Any> = listOf(
        { TextClassifier(model).classifyLong(text, windows = windows) },
        { TokenClassifier(model).tagLong(text, windows = windows) },
        { TextEmbedder(model).embedLong(text, windows = windows) },
        { MaskFiller(model).fillLong(text, windows = windows) },
        { ZeroShotClassifier(model).classifyLong(text, listOf("weather", "music"), windows = windows) },
        { Analyzer(model).analyzeLong(text, windows = windows) },
        { Reranker(model).rankLong("rain", listOf(text, "music"), windows = windows) },
    )

    @Test
    fun everyLongCallTells() {
        Model.fromFile(tiny).use { model ->
            val told = mutableListOf<Progress>()
            val windows = Windows(64, onProgress = { told.add(it) })
            for ((i, call) in calls(model, windows).withIndex()) {
                told.clear()
                call()
                assertTrue(told.size > 5, "call $i")
                assertEquals(told.last().total, told.last().done, "call $i")
                assertTrue(told.zipWithNext().all { (a, b) -> a.done < b.done }, "call $i")
            }
        }
    }

    @Test
    fun aListenerStopsACallAndItsExceptionIsTheCalls() {
        Model.fromFile(tiny).use { model ->
            val stop = Windows(64, onProgress = { it.windows < 2 })
            val mine = IllegalArgumentException("mine")
            val fail = Windows(64, onProgress = { throw mine })
            for (call in calls(model, stop)) assertThrows(PocketBertException.Cancelled::class.java) { call() }
            for (call in calls(model, fail)) {
                assertSame(mine, assertThrows(IllegalArgumentException::class.java) { call() })
            }
            // What was thrown is not thrown again by a later call.
            assertThrows(PocketBertException.Cancelled::class.java) { calls(model, stop)[0]() }
        }
    }
}
