package org.pocketbert.internal

import com.sun.jna.Native
import com.sun.jna.Platform
import java.io.File

/**
 * Loads the library the Java way, so that `JNI_OnLoad` runs; JNA, which makes the calls, would load it without.
 *
 * On Android it lies in the app's library folder. Elsewhere, in this order: the file that the system property
 * `org.pocketbert.library` names, or the one inside this jar, unpacked to a temporary file.
 */
public object NativeLibrary {
    private const val NAME = "pocketbert_mobile"

    /** Loads it; once is enough, more often is harmless. */
    @JvmStatic
    public fun load() {
        check(loaded)
    }

    private val loaded: Boolean by lazy {
        if (Platform.isAndroid()) {
            System.loadLibrary(NAME)
        } else {
            val file = System.getProperty("org.pocketbert.library")?.let(::File) ?: unpacked()
            System.load(file.absolutePath)
            // JNA opens the very same file, so both see one library.
            System.setProperty("uniffi.component.$NAME.libraryOverride", file.absolutePath)
        }
        true
    }

    private fun unpacked(): File {
        val path = "/org/pocketbert/internal/${Platform.RESOURCE_PREFIX}/${System.mapLibraryName(NAME)}"
        val file = try {
            Native.extractFromResourcePath(path, NativeLibrary::class.java.classLoader)
        } catch (e: java.io.IOException) {
            throw UnsatisfiedLinkError(
                "this jar has no PocketBERT library for ${Platform.RESOURCE_PREFIX}: build one and name it by the " +
                    "system property `org.pocketbert.library` (${e.message})",
            )
        }
        file.deleteOnExit()
        return file
    }
}
