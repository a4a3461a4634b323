//! The attribute of Kani's that marks a proof.

extern crate proc_macro;

use proc_macro::TokenStream;

/// The function, which only Kani calls.
#[proc_macro_attribute]
pub fn proof(arguments: TokenStream, function: TokenStream) -> TokenStream {
    assert!(arguments.is_empty(), "`proof` takes no arguments");
    let mut marked: TokenStream = "#[expect(dead_code)]".parse().expect("an attribute");
    marked.extend(function);
    marked
}
