package org.pocketbert

import java.io.File
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** `api.txt`, which `build.sh` compares with the classes. */
class ApiTest {
    @Test
    fun noGeneratedClassIsApi() {
        val api = File(root, "bindings-android/api.txt").readText()
        assertTrue("public final class org.pocketbert.TextClassifier " in api)
        assertFalse("org.pocketbert.internal" in api)
    }
}
