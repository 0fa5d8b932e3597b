pluginManagement {
    repositories {
        google()
        mavenCentral()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
        // The AAR, until it is published.
        mavenLocal()
    }
}
rootProject.name = "pocketbert-sample"
include(":app")
