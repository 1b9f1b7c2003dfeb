//! The one place where machine code is chosen by what the machine can do.
//!
//! Kernels are plain loops that the compiler turns into vectors, once for each set of instructions. A kernel that does not use
//! `FMA` gives the same bits with each of them.

/// Work worth compiling for each set of instructions.
pub trait Kernel {
    /// What it gives.
    type Output;

    /// Does it. `FMA` says whether fused multiplication and addition is one instruction; else it is a call of a function.
    /// To be marked `#[inline(always)]`, as everything that it calls in its loops: only what is inlined is compiled anew.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// A set of instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// What every machine of this architecture has.
    Plain,
    /// AVX2 with fused multiplication and addition.
    #[cfg(target_arch = "x86_64")]
    Avx2(HasIt),
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(HasIt),
}

/// Proof that this machine has the instructions: only this module makes it.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasIt(());

impl Instructions {
    /// Those that this machine has, the best first.
    pub fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = {
            let fma = is_x86_feature_detected!("fma");
            let avx512 = (fma && is_x86_feature_detected!("avx512f")).then_some(Self::Avx512(HasIt(())));
            let avx2 = (fma && is_x86_feature_detected!("avx2")).then_some(Self::Avx2(HasIt(())));
            avx512.into_iter().chain(avx2)
        };
        #[cfg(not(target_arch = "x86_64"))]
        let found = std::iter::empty();
        found.chain([Self::Plain])
    }

    /// The best that this machine has.
    #[must_use]
    pub fn best() -> Self {
        Self::all().next().unwrap_or(Self::Plain)
    }

    /// Runs a kernel with these instructions.
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "what a machine can do is known when it runs"))]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        if self != Self::Plain {
            // SAFETY: what is called is safe code, and its `HasIt` says that the machine has what it was compiled for.
            return unsafe {
                match self {
                    Self::Avx512(HasIt(())) => avx512(kernel),
                    _ => avx2(kernel),
                }
            };
        }
        // Every aarch64 has fused multiplication and addition.
        kernel.run::<{ cfg!(target_arch = "aarch64") }>()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,fma")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_that_this_machine_has_is_tried() {
        assert_eq!(Instructions::all().last(), Some(Instructions::Plain));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            Instructions::all().count() > 1,
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
        );
    }
}
