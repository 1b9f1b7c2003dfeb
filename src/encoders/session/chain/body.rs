//! The one place where machine code is chosen by what the machine can do.

use super::groups::Groups;

/// A set of instructions that the layers were compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// What every machine of this architecture has.
    Plain,
    /// AVX2 with fused multiplication and addition.
    #[cfg(target_arch = "x86_64")]
    Avx2(HasIt),
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(HasIt),
}

/// Proof that this machine has the instructions: only [`Body::all`] makes it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HasIt(());

impl Body {
    /// Those that this machine can run, the best one last.
    pub(super) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("fma");
            let avx2 = (fma && is_x86_feature_detected!("avx2")).then_some(Self::Avx2(HasIt(())));
            let avx512 = (fma && is_x86_feature_detected!("avx512f")).then_some(Self::Avx512(HasIt(())));
            [Some(Self::Plain), avx2, avx512].into_iter().flatten().collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Plain]
    }

    /// Computes all groups; `input` and `output` are channels first.
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "what a machine can do is known when it runs"))]
    pub(super) fn run(self, groups: &Groups, input: &[f32], output: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if self != Self::Plain {
            // SAFETY: what is called is safe code, and its `HasIt` says that the machine has what it was compiled for.
            return unsafe {
                match self {
                    Self::Avx512(HasIt(())) => avx512(groups, input, output),
                    _ => avx2(groups, input, output),
                }
            };
        }
        // Every aarch64 has fused multiplication and addition; for x86-64 without AVX2 it would be a call of a function.
        groups.compute::<{ cfg!(target_arch = "aarch64") }>(input, output);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(groups: &Groups, input: &[f32], output: &mut [f32]) {
    groups.compute::<true>(input, output);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn avx512(groups: &Groups, input: &[f32], output: &mut [f32]) {
    groups.compute::<true>(input, output);
}
