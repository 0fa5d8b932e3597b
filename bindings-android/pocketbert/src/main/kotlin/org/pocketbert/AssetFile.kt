package org.pocketbert

import java.io.Closeable
import java.io.File
import java.io.FileNotFoundException
import java.io.FileOutputStream
import java.io.IOException
import java.io.InputStream
import java.util.UUID

/** Bytes inside an open file, whose descriptor's number is [fd], until closed. */
internal class OpenRange(
    val fd: Int,
    val offset: Long,
    val length: Long,
    private val owner: Closeable,
) : Closeable by owner

/** What this library asks of Android's assets; its own interface, so that its use can be tested without Android. */
internal interface AssetStore {
    /** Where the asset lies in the APK; [FileNotFoundException] if it is compressed or not there. */
    fun openRange(name: String): OpenRange

    /** The asset's bytes; [FileNotFoundException] if it is not there. */
    fun openStream(name: String): InputStream

    /** Where copies are kept: private to the app, and not part of a backup. */
    val folder: File

    /** Another one whenever the app was installed or updated: copies of older assets are not used. */
    val edition: String
}

/** Opens a model that is an asset: where it lies, or by a copy. */
internal class AssetFile(private val store: AssetStore, private val name: String, private val copyIfCompressed: Boolean) {
    /** The asset in the APK, or null where it has to be copied. */
    fun range(): OpenRange? = try {
        store.openRange(name)
    } catch (e: IOException) {
        // Android says the same of an asset that is compressed and of one that is missing.
        stream().close()
        if (!copyIfCompressed) throw compressed()
        null
    }

    /** A copy outside of the APK: the one that is there, or a new one. Whole or not there at all, also after a crash. */
    fun copy(): File {
        val stem = name.replace(Regex("[^A-Za-z0-9._-]"), "_")
        val copy = File(store.folder, "$stem-${store.edition}.pbert")
        if (copy.isFile) return copy
        try {
            store.folder.mkdirs()
            val part = File(store.folder, "$stem-${UUID.randomUUID()}.part")
            try {
                FileOutputStream(part).use { out ->
                    stream().use { it.copyTo(out, 1 shl 16) }
                    out.fd.sync()
                }
                if (!part.renameTo(copy)) throw IOException("`${part.name}` cannot be renamed")
            } finally {
                part.delete()
            }
        } catch (e: IOException) {
            throw PocketBertException.ResourceExhausted("the asset `$name` cannot be copied to `${store.folder}`: ${e.message}")
        }
        // Copies of earlier editions, and parts that a crash left; another process's part is younger than an hour.
        val hourAgo = System.currentTimeMillis() - 3_600_000
        store.folder.listFiles()?.forEach { f ->
            val ours = f.name.startsWith("$stem-") && f != copy
            if (ours && (f.name.endsWith(".pbert") || f.name.endsWith(".part") && f.lastModified() < hourAgo)) f.delete()
        }
        return copy
    }

    private fun stream(): InputStream = try {
        store.openStream(name)
    } catch (e: FileNotFoundException) {
        throw PocketBertException.NotFound("the app has no asset `$name`")
    }

    private fun compressed() = PocketBertException.FailedPrecondition(
        "the asset `$name` is compressed in the APK, so it cannot be mapped: add " +
            "`androidResources.noCompress += \"pbert\"` to the `android` block of the app's build.gradle.kts, " +
            "or ask for a copy with `copyIfCompressed`",
    )
}
