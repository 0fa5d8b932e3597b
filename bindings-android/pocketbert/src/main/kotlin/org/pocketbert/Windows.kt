package org.pocketbert

import org.pocketbert.internal.Merge
import org.pocketbert.internal.Windowing

/** How answers of windows become the answer to a long text. */
public enum class WindowMerge {
    /** The mean. */
    MEAN,

    /** The mean, weighted by the tokens that belong to each window. */
    WEIGHTED,

    /** Of each label the largest value: has any part of the text this label? */
    MAX,

    /** The share of windows in which a label wins. Not for vectors. */
    VOTE,
}

/** How a long text is read in overlapping windows. */
public class Windows @JvmOverloads constructor(
    /** Tokens of a window; null: as the model says. */
    public val window: Int? = null,
    /** Tokens from the start of one window to the next; null: as the model says. */
    public val stride: Int? = null,
    /** How the windows' answers are merged. */
    public val merge: WindowMerge = WindowMerge.WEIGHTED,
) {
    internal fun native(): Windowing = Windowing(window, stride, Merge.valueOf(merge.name))

    public companion object {
        /** As the model says. */
        @JvmField
        public val DEFAULT: Windows = Windows()
    }
}
