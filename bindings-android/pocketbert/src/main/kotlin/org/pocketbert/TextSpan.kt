package org.pocketbert

import org.pocketbert.internal.TextSpan as NativeSpan

/**
 * Where something is in a text: [start] to before [end], in the units of a Kotlin or Java string (UTF-16 code units).
 */
public class TextSpan internal constructor(
    /** Index of its first `Char`. */
    public val start: Int,
    /** Index of the `Char` after it. */
    public val end: Int,
) {
    /** The part of [text], the text that was read. */
    public fun of(text: String): String = text.substring(start, end)

    override fun equals(other: Any?): Boolean = other is TextSpan && other.start == start && other.end == end

    override fun hashCode(): Int = 31 * start + end

    override fun toString(): String = "$start..<$end"
}

internal fun NativeSpan.public(): TextSpan = TextSpan(utf16Start, utf16End)
