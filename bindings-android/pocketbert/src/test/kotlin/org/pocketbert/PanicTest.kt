package org.pocketbert

import com.sun.jna.NativeLibrary
import com.sun.jna.Structure
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.pocketbert.internal.FfiConverterString
import org.pocketbert.internal.InternalException
import org.pocketbert.internal.MobileException
import org.pocketbert.internal.RustBuffer

/** How a call ended: what the generated code passes, whose own is not visible here. */
@Structure.FieldOrder("code", "error")
class CallStatus : Structure() {
    @JvmField
    var code: Byte = 0

    @JvmField
    var error: RustBuffer.ByValue = RustBuffer.ByValue()
}

/** A panic in Rust is an exception, and the text that its message quotes goes nowhere. */
class PanicTest {
    private fun call(function: String): CallStatus {
        org.pocketbert.internal.NativeLibrary.load()
        val status = CallStatus()
        NativeLibrary.getInstance(System.getProperty("pocketbert.faults"))
            .getFunction("uniffi_pocketbert_mobile_fn_func_$function")
            .invokeVoid(arrayOf(FfiConverterString.lower("my secret"), status))
        return status
    }

    @Test
    fun aPanicIsAnException() {
        val status = call("guarded")
        assertEquals(1, status.code)
        val e = assertThrows(PocketBertException.Internal::class.java) {
            native { throw MobileException.lift(status.error) }
        }
        assertEquals(13, e.code)
        assertTrue("a panic inside the library at examples/faults.rs:" in e.message!!, e.message)
        assertFalse("secret" in e.message!!, e.message)
        // The process goes on.
        assertEquals("GetWeather", TextClassifier.fromFile(tiny).use { it.classify("will it rain").top!!.label })
    }

    @Test
    fun aPanicInTheBindingIsOne() {
        val status = call("bare")
        assertEquals(2, status.code)
        val e = assertThrows(PocketBertException.Internal::class.java) {
            native { throw InternalException(FfiConverterString.lift(status.error)) }
        }
        assertFalse("secret" in e.message!!, e.message)
    }
}
