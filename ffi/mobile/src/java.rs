//! What a JVM calls by JNI: `System.loadLibrary` runs [`JNI_OnLoad`]; JNA, which makes all other calls, never does.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use jni::objects::{JClass, JObject};
use jni::sys::{JNI_ERR, JNI_VERSION_1_6, JavaVM, jint};
use jni::{EnvUnowned, Outcome, jni_sig, jni_str};

use crate::library::JNI_LOADED;

/// Called by the JVM after loading. Says which JNI it wants, and that it ran. Logs nothing: an app that wants logs
/// says so.
#[unsafe(no_mangle)]
pub extern "system" fn JNI_OnLoad(vm: *mut JavaVM, _reserved: *mut c_void) -> jint {
    if vm.is_null() {
        return JNI_ERR;
    }
    JNI_LOADED.store(true, Ordering::Release);
    JNI_VERSION_1_6
}

/// `org.pocketbert.internal.Descriptors.number(FileDescriptor)`: the number inside a `java.io.FileDescriptor`, or -1.
/// Java hides it, on Android behind another name than elsewhere.
#[unsafe(no_mangle)]
pub extern "system" fn Java_org_pocketbert_internal_Descriptors_number<'l>(
    mut env: EnvUnowned<'l>,
    _class: JClass<'l>,
    descriptor: JObject<'l>,
) -> jint {
    // A panic ends in `with_env`, and so does an exception: -1 is refused by whoever opens it.
    let number = env.with_env(|env| -> Result<jint, jni::errors::Error> {
        if descriptor.is_null() {
            return Ok(-1);
        }
        let name = if cfg!(target_os = "android") { jni_str!("descriptor") } else { jni_str!("fd") };
        env.get_field(&descriptor, name, jni_sig!("I"))?.i()
    });
    match number.into_outcome() {
        Outcome::Ok(n) => n,
        _ => -1,
    }
}
