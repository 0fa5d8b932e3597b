package org.pocketbert

import android.content.Context
import java.io.File
import java.io.InputStream

/** The assets of an app. */
internal class AndroidAssets(private val context: Context) : AssetStore {
    override fun openRange(name: String): OpenRange {
        val file = context.assets.openFd(name)
        return OpenRange(file.parcelFileDescriptor.fd, file.startOffset, file.length, file)
    }

    override fun openStream(name: String): InputStream = context.assets.open(name)

    override val folder: File get() = File(context.noBackupFilesDir, "pocketbert")

    override val edition: String
        get() = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime.toString(36)
}
