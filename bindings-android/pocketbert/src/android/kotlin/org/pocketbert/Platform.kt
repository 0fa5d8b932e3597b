package org.pocketbert

import android.content.Context
import kotlinx.coroutines.withContext

/**
 * What Android adds to [OpenOptions.Builder]: models among the app's assets.
 *
 * From Java: `TextClassifier.fromOptions(new OpenOptions.Builder().asset(context, "everyday.pbert").build())`.
 */
public abstract class PlatformSources<B> internal constructor() {
    internal abstract fun assetFile(file: AssetFile): B

    /**
     * The asset [name], such as `everyday.pbert`, mapped where it lies in the APK.
     *
     * That takes an asset that is not compressed: `androidResources.noCompress += "pbert"` in the app's build. Of a
     * compressed one [copyIfCompressed] makes a copy in the app's no-backup folder, once per installed version of the
     * app; without, it is an error that says so.
     */
    @JvmOverloads
    public fun asset(context: Context, name: String, copyIfCompressed: Boolean = false): B =
        assetFile(AssetFile(AndroidAssets(context.applicationContext ?: context), name, copyIfCompressed))
}

/** What Android adds to the functions that open a [T]: models among the app's assets. */
public abstract class PlatformOpener<T> internal constructor() {
    internal abstract fun from(options: OpenOptions): T

    /**
     * Opens the asset [asset] of the app, such as `everyday.pbert`: `TextClassifier.open(context, "everyday.pbert")`.
     *
     * ## Threads
     * Opening reads the file, so not on the main thread: there [openAsync] is for.
     *
     * ## Compressed assets
     * An error, or with [copyIfCompressed] a copy: see [PlatformSources.asset].
     *
     * @throws PocketBertException.NotFound if there is no such asset.
     * @throws PocketBertException.FailedPrecondition if the asset is compressed and no copy is asked for.
     */
    @JvmOverloads
    public fun open(
        context: Context,
        asset: String,
        copyIfCompressed: Boolean = false,
        options: OpenOptions.Builder.() -> Unit = {},
    ): T = from(OpenOptions.Builder().asset(context, asset, copyIfCompressed).apply(options).build())

    /** [open] on the dispatcher of the options. */
    public suspend fun openAsync(
        context: Context,
        asset: String,
        copyIfCompressed: Boolean = false,
        options: OpenOptions.Builder.() -> Unit = {},
    ): T {
        val all = OpenOptions.Builder().asset(context, asset, copyIfCompressed).apply(options).build()
        return withContext(all.dispatcher) { from(all) }
    }
}
