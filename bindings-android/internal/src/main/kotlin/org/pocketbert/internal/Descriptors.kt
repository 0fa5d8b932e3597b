package org.pocketbert.internal

import java.io.FileDescriptor

/** The number inside a [FileDescriptor], which Java hides. Native: `ffi/mobile/src/java.rs`. */
public object Descriptors {
    /** The number, or -1 where nothing is open. */
    @JvmStatic
    public external fun number(descriptor: FileDescriptor?): Int
}
