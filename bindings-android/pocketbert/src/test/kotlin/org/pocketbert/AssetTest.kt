package org.pocketbert

import java.io.File
import java.io.FileNotFoundException
import java.io.InputStream
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.CRC32
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import java.util.zip.ZipOutputStream
import kotlin.concurrent.thread
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import org.pocketbert.internal.Descriptors

/** Assets of an APK as Android hands them out: a range of the APK if stored, otherwise a stream. */
private class ApkStore(private val apk: File, override val folder: File, override var edition: String = "1") : AssetStore {
    var streams = 0

    override fun openRange(name: String): OpenRange {
        val (method, offset, length) = entry("assets/$name") ?: throw FileNotFoundException(name)
        if (method != 0) throw FileNotFoundException("This file can not be opened as a file descriptor; it is probably compressed")
        val file = RandomAccessFile(apk, "r")
        return OpenRange(Descriptors.number(file.fd), offset, length, file)
    }

    override fun openStream(name: String): InputStream {
        streams++
        val zip = ZipFile(apk)
        val entry = zip.getEntry("assets/$name") ?: throw FileNotFoundException(name).also { zip.close() }
        return zip.getInputStream(entry)
    }

    /** Compression method, place and length of an entry's bytes, as the zip's directory has them. */
    private fun entry(name: String): Triple<Int, Long, Long>? {
        val b = ByteBuffer.wrap(apk.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
        var at = (b.capacity() - 22 downTo 0).first { b.getInt(it) == 0x06054b50 }.let { b.getInt(it + 16) }
        while (b.getInt(at) == 0x02014b50) {
            val n = b.getShort(at + 28).toInt()
            if (String(b.array(), at + 46, n) == name) {
                val local = b.getInt(at + 42)
                val data = local + 30 + b.getShort(local + 26) + b.getShort(local + 28)
                return Triple(b.getShort(at + 10).toInt(), data.toLong(), b.getInt(at + 24).toLong())
            }
            at += 46 + n + b.getShort(at + 30) + b.getShort(at + 32)
        }
        return null
    }
}

/**
 * Models among an app's assets. `pocketbert.apks` names a folder with `stored.apk` and `compressed.apk`, made and signed
 * with Android's tools; without it zips do.
 */
class AssetTest {
    @TempDir
    lateinit var folder: File

    private val expected by lazy { TextClassifier.fromFile(tiny).use { it.classify("rain in Paris").logits() } }

    private fun apk(stored: Boolean): File {
        val name = if (stored) "stored.apk" else "compressed.apk"
        System.getProperty("pocketbert.apks")?.let { return File(it, name) }
        val bundle = tiny.readBytes()
        return File(folder, name).apply {
            ZipOutputStream(outputStream()).use { zip ->
                zip.putNextEntry(ZipEntry("classes.dex"))
                zip.write(ByteArray(12_345))
                val entry = ZipEntry("assets/tiny.pbert")
                if (stored) {
                    entry.method = ZipEntry.STORED
                    entry.size = bundle.size.toLong()
                    entry.crc = CRC32().apply { update(bundle) }.value
                }
                zip.putNextEntry(entry)
                zip.write(bundle)
            }
        }
    }

    private fun open(store: ApkStore, copy: Boolean = false, name: String = "tiny.pbert"): TextClassifier =
        TextClassifier.from(OpenOptions.Builder().assetFile(AssetFile(store, name, copy)).build())

    private fun copies() = File(folder, "copies").list().orEmpty().sorted()

    @Test
    fun storedAssetsAreMappedWhereTheyLie() {
        val store = ApkStore(apk(stored = true), File(folder, "copies"))
        store.openRange("tiny.pbert").use { assertTrue(it.offset > 0) }
        open(store).use {
            assertArrayEquals(expected, it.classify("rain in Paris").logits())
            val maps = File("/proc/self/maps").readLines().filter { m -> m.endsWith(".apk") }
            assertTrue(maps.any { m -> " r--" in m }, "the APK is mapped: $maps")
        }
        // Asked for or not, a copy is made only where one is needed.
        open(store, copy = true).close()
        assertEquals(0, store.streams)
        assertEquals(emptyList<String>(), copies())
    }

    @Test
    fun compressedAssetsNameTheRemedy() {
        val e = assertThrows(PocketBertException.FailedPrecondition::class.java) {
            open(ApkStore(apk(stored = false), File(folder, "copies")))
        }
        assertTrue("androidResources.noCompress += \"pbert\"" in e.message!!, e.message)
        assertTrue("copyIfCompressed" in e.message!!, e.message)
        assertEquals(emptyList<String>(), copies())
    }

    @Test
    fun compressedAssetsAreCopiedOncePerEdition() {
        val store = ApkStore(apk(stored = false), File(folder, "copies"))
        repeat(2) { open(store, copy = true).use { assertArrayEquals(expected, it.classify("rain in Paris").logits()) } }
        assertEquals(listOf("tiny.pbert-1.pbert"), copies())
        // Twice looked at, once copied.
        assertEquals(3, store.streams)
        assertArrayEquals(tiny.readBytes(), File(folder, "copies/tiny.pbert-1.pbert").readBytes())
        // An update of the app: the old copy and what a crash left go, what others write stays.
        val crashed = File(folder, "copies/tiny.pbert-dead.part").apply { writeText("x"); setLastModified(1_000_000) }
        val running = File(folder, "copies/tiny.pbert-live.part").apply { writeText("x") }
        val other = File(folder, "copies/other.pbert-1.pbert").apply { writeText("x") }
        store.edition = "2"
        open(store, copy = true).close()
        assertEquals(listOf(other.name, "tiny.pbert-2.pbert", running.name), copies())
        assertFalse(crashed.exists())
    }

    @Test
    fun copiesFromManyThreadsAreWhole() {
        val apk = apk(stored = false)
        val files = arrayOfNulls<ByteArray>(8)
        List(8) { i ->
            thread { files[i] = AssetFile(ApkStore(apk, File(folder, "copies")), "tiny.pbert", true).copy().readBytes() }
        }.forEach { it.join() }
        files.forEach { assertArrayEquals(tiny.readBytes(), it) }
        assertEquals(listOf("tiny.pbert-1.pbert"), copies())
    }

    @Test
    fun copiesThatCannotBeWrittenLeaveNothing() {
        val blocked = File(folder, "copies").apply { writeText("a file where the folder should be") }
        val e = assertThrows(PocketBertException.ResourceExhausted::class.java) {
            open(ApkStore(apk(stored = false), blocked), copy = true)
        }
        assertTrue("tiny.pbert" in e.message!!, e.message)
    }

    @Test
    fun missingAssetsAreNotFound() {
        for (copy in listOf(false, true)) {
            val e = assertThrows(PocketBertException.NotFound::class.java) {
                open(ApkStore(apk(stored = true), folder), copy, "other.pbert")
            }
            assertTrue("other.pbert" in e.message!!, e.message)
        }
    }
}
