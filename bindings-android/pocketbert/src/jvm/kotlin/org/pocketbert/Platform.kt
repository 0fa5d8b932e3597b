package org.pocketbert

/** What a platform adds to [OpenOptions.Builder]: assets on Android, nothing on other JVMs. */
public abstract class PlatformSources<B> internal constructor() {
    internal abstract fun assetFile(file: AssetFile): B
}

/** What a platform adds to the functions that open a [T]: assets on Android, nothing on other JVMs. */
public abstract class PlatformOpener<T> internal constructor() {
    internal abstract fun from(options: OpenOptions): T
}
