package org.pocketbert

import org.pocketbert.internal.MobileException

/**
 * What every call of this library throws when it cannot answer.
 *
 * The message is a sentence for developers: it names what is wrong and what to do, and never quotes a text.
 *
 * @property code a number that stays the same in every version and language (the numbering of `absl::StatusCode`).
 */
public sealed class PocketBertException(public val code: Int, message: String) : RuntimeException(message) {
    /** The call was stopped: code 1. */
    public class Cancelled internal constructor(message: String) : PocketBertException(1, message)

    /** An option or argument cannot be used: code 3. */
    public class InvalidArgument internal constructor(message: String) : PocketBertException(3, message)

    /** The deadline passed: code 4. */
    public class DeadlineExceeded internal constructor(message: String) : PocketBertException(4, message)

    /** A file, asset or head does not exist: code 5. */
    public class NotFound internal constructor(message: String) : PocketBertException(5, message)

    /** The system refused access: code 7. */
    public class PermissionDenied internal constructor(message: String) : PocketBertException(7, message)

    /** A limit on memory, size or work was reached: code 8. */
    public class ResourceExhausted internal constructor(message: String) : PocketBertException(8, message)

    /** The object is not in the state that the call needs, such as closed: code 9. */
    public class FailedPrecondition internal constructor(message: String) : PocketBertException(9, message)

    /** A value is outside of what the model takes, such as a text that is too long: code 11. */
    public class OutOfRange internal constructor(message: String) : PocketBertException(11, message)

    /** The model needs something that this version lacks: code 12. */
    public class Unimplemented internal constructor(message: String) : PocketBertException(12, message)

    /** A defect of this library; please report it: code 13. */
    public class Internal internal constructor(message: String) : PocketBertException(13, message)

    /** A file is damaged, cut off or altered: code 15. */
    public class DataLoss internal constructor(message: String) : PocketBertException(15, message)
}

internal fun exceptionOf(code: Int, message: String): PocketBertException = when (code) {
    1 -> PocketBertException.Cancelled(message)
    3 -> PocketBertException.InvalidArgument(message)
    4 -> PocketBertException.DeadlineExceeded(message)
    5 -> PocketBertException.NotFound(message)
    7 -> PocketBertException.PermissionDenied(message)
    8 -> PocketBertException.ResourceExhausted(message)
    9 -> PocketBertException.FailedPrecondition(message)
    11 -> PocketBertException.OutOfRange(message)
    12 -> PocketBertException.Unimplemented(message)
    15 -> PocketBertException.DataLoss(message)
    else -> PocketBertException.Internal(message)
}

/** Runs [block], and what it throws becomes a [PocketBertException]. */
internal inline fun <T> native(block: () -> T): T {
    try {
        return block()
    } catch (e: MobileException.Failed) {
        throw takeThrown() ?: exceptionOf(e.code, e.reason)
    } catch (e: org.pocketbert.internal.InternalException) {
        throw PocketBertException.Internal("a defect in the binding: please report it")
    } catch (e: IllegalStateException) {
        // uniffi's word for an object that was closed.
        throw PocketBertException.FailedPrecondition("this object was closed: open a new one")
    }
}

/**
 * A string without unpaired surrogates, which have no UTF-8 form: each becomes U+FFFD, which is as long, so spans keep
 * their meaning.
 */
internal fun clean(text: String): String {
    var i = 0
    while (i < text.length) {
        val c = text[i]
        if (c.isSurrogate()) {
            if (c.isHighSurrogate() && i + 1 < text.length && text[i + 1].isLowSurrogate()) i++ else return repair(text)
        }
        i++
    }
    return text
}

private fun repair(text: String): String {
    val chars = text.toCharArray()
    var i = 0
    while (i < chars.size) {
        if (chars[i].isHighSurrogate() && i + 1 < chars.size && chars[i + 1].isLowSurrogate()) {
            i += 2
            continue
        }
        if (chars[i].isSurrogate()) chars[i] = '\uFFFD'
        i++
    }
    return String(chars)
}
