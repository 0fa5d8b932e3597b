package org.pocketbert

import java.util.Locale
import org.pocketbert.internal.NativeLibrary
import org.pocketbert.internal.diagnosticsJson
import org.pocketbert.internal.jniLoaded
import org.pocketbert.internal.libraryVersion
import org.pocketbert.internal.setLogLevel
import org.pocketbert.internal.setLogSink
import org.pocketbert.internal.LogSink as NativeSink

/** The native library: its version, logging, and facts for a support ticket. */
public object PocketBert {
    /** The library's version, such as `0.1.0`. */
    @JvmStatic
    public val version: String get() = Library.ready { libraryVersion() }

    /**
     * Facts for a support ticket as a JSON object: version, CPU, kernels. Names no text and no file.
     */
    @JvmStatic
    public fun diagnostics(): String = Library.ready { diagnosticsJson() }

    /**
     * How much the library logs: nothing at first. It goes to the sink of [setLogSink]; without one, on Android, to
     * logcat with the tag `PocketBERT`. No level ever logs a text.
     */
    @JvmStatic
    public fun setLogLevel(level: LogLevel): Unit = Library.ready { setLogLevel(level.name.lowercase(Locale.ROOT)) }

    /**
     * Sends what is logged to [sink] from now on, in place of an earlier one or of logcat; [setLogLevel] says how much
     * that is.
     */
    @JvmStatic
    public fun setLogSink(sink: LogSink): Unit = Library.ready {
        setLogSink(object : NativeSink {
            override fun write(level: String, message: String) {
                // An exception must not cross into Rust: it would be a panic there, whose logging comes back here.
                try {
                    sink.write(LogLevel.valueOf(level.uppercase(Locale.ROOT)), message)
                } catch (_: Throwable) {
                }
            }
        })
    }

    internal val isJniLoaded: Boolean get() = Library.ready { jniLoaded() }
}

/** Takes what is logged. */
public fun interface LogSink {
    /** One message. Called on any thread; it must not call the library, and what it throws is dropped. */
    public fun write(level: LogLevel, message: String)
}

/** How much is logged. */
public enum class LogLevel {
    /** Nothing. */
    OFF,

    /** Defects. */
    ERROR,

    /** And drift. */
    WARN,

    /** And what is opened. */
    INFO,

    /** And more. */
    DEBUG,

    /** And everything. */
    TRACE,
}

internal object Library {
    /** Runs [block] with the library loaded. */
    inline fun <T> ready(block: () -> T): T {
        NativeLibrary.load()
        return native(block)
    }
}
