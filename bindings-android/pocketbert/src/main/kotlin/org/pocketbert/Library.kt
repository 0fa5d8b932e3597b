package org.pocketbert

import org.pocketbert.internal.NativeLibrary
import org.pocketbert.internal.diagnosticsJson
import org.pocketbert.internal.jniLoaded
import org.pocketbert.internal.libraryVersion
import org.pocketbert.internal.setLogLevel

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
     * How much the library logs: nothing at first. On Android it goes to logcat with the tag `PocketBERT`; elsewhere
     * nothing is written. No level ever logs a text.
     */
    @JvmStatic
    public fun setLogLevel(level: LogLevel): Unit = Library.ready { setLogLevel(level.name.lowercase()) }

    internal val isJniLoaded: Boolean get() = Library.ready { jniLoaded() }
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
