plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "org.pocketbert.sample"
    compileSdk = 35
    defaultConfig {
        applicationId = "org.pocketbert.sample"
        // 23 works, too, with core library desugaring: JNA calls Java functions that Android has since 24.
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "1"
    }
    buildTypes {
        release {
            // The rules that the library needs come with its AAR.
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
            signingConfig = signingConfigs.getByName("debug")
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    // A compressed asset cannot be mapped.
    androidResources.noCompress += "pbert"
}

kotlin.compilerOptions.jvmTarget = org.jetbrains.kotlin.gradle.dsl.JvmTarget.JVM_1_8

dependencies {
    implementation("org.pocketbert:pocketbert-android:0.1.0")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.10.2")
}
