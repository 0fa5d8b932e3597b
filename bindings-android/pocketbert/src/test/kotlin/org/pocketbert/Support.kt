package org.pocketbert

import com.google.gson.JsonObject
import com.google.gson.JsonParser
import com.sun.jna.NativeLibrary
import java.io.File

internal val root = File(System.getProperty("pocketbert.root"))
internal val tiny = File(root, "models/tiny.pbert")
internal val everyday = File(root, "models/everyday.pbert")

/** `POCKETBERT_ROUNDS`: 10,000 for the record, fewer otherwise. */
internal val rounds = System.getenv("POCKETBERT_ROUNDS")?.toInt() ?: 300

internal fun jsonLines(name: String): List<JsonObject> =
    File(root, "tests/golden/$name").readLines().map { JsonParser.parseString(it).asJsonObject }

/** Resident memory of this process in bytes, less what is free: unreachable objects are collected, malloc gives back. */
internal fun resident(): Long {
    repeat(3) {
        System.gc()
        Thread.sleep(100)
    }
    NativeLibrary.getInstance("c").getFunction("malloc_trim").invokeInt(arrayOf(0L))
    return File("/proc/self/statm").readText().split(" ")[1].toLong() * 4096
}

/** How often a counter of a task's metrics counted the error of this name. */
internal fun errors(task: Task, name: String): Int =
    JsonParser.parseString(task.metricsJson()).asJsonArray[0].asJsonObject
        .getAsJsonObject("errors")?.get(name)?.asInt ?: 0
