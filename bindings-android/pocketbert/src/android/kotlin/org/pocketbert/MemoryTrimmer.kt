package org.pocketbert

import android.content.ComponentCallbacks2
import android.content.res.Configuration

/**
 * Gives back a model's scratch memory when Android asks: `application.registerComponentCallbacks(MemoryTrimmer(model))`.
 *
 * ## Closing
 * Unregister it before the model is closed; after that it does nothing.
 */
public class MemoryTrimmer(private val model: Model) : ComponentCallbacks2 {
    /** A trimmer for the model of a task. */
    public constructor(task: Task) : this(task.model)

    override fun onTrimMemory(level: Int) {
        // While the app is in front, only when memory is low; and always when it left the screen, whose level is higher.
        if (level >= ComponentCallbacks2.TRIM_MEMORY_RUNNING_LOW) trim()
    }

    @Deprecated("Android's older word for the same")
    override fun onLowMemory(): Unit = trim()

    override fun onConfigurationChanged(newConfig: Configuration) {}

    private fun trim() {
        try {
            model.trimMemory()
        } catch (_: PocketBertException.FailedPrecondition) {
            // Closed meanwhile.
        }
    }
}
