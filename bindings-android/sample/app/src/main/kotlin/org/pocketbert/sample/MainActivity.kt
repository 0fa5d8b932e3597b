package org.pocketbert.sample

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import org.pocketbert.MemoryTrimmer
import org.pocketbert.PocketBertException
import org.pocketbert.TextClassifier

/** Classifies what is typed. */
class MainActivity : Activity() {
    private val scope = MainScope()
    private var classifier: TextClassifier? = null
    private var trimmer: MemoryTrimmer? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val input = EditText(this).apply { setText("book a table for two in Paris") }
        val button = Button(this).apply { text = "Classify"; isEnabled = false }
        val answer = TextView(this)
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                fitsSystemWindows = true
                addView(input)
                addView(button)
                addView(answer)
            },
        )
        scope.launch {
            try {
                val opened = TextClassifier.openAsync(this@MainActivity, "everyday.pbert")
                classifier = opened
                trimmer = MemoryTrimmer(opened).also { application.registerComponentCallbacks(it) }
                opened.prewarmAsync()
                button.isEnabled = true
            } catch (e: PocketBertException) {
                answer.text = e.message
            }
        }
        button.setOnClickListener {
            scope.launch {
                answer.text = try {
                    // Moves off this thread by itself, and stops when the activity goes.
                    classifier?.classifyAsync(input.text.toString())?.labels?.take(3)?.joinToString("\n")
                } catch (e: PocketBertException) {
                    e.message
                }
            }
        }
    }

    override fun onDestroy() {
        scope.cancel()
        trimmer?.let { application.unregisterComponentCallbacks(it) }
        classifier?.close()
        super.onDestroy()
    }
}
