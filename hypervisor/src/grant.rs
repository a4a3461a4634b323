//! stub
/// stub
pub struct GrantTable<F>(core::marker::PhantomData<F>);
impl<F> GrantTable<F> { /// x
 pub fn new(_n: u32) -> Self { GrantTable(core::marker::PhantomData) } }
/// stub
pub struct Maptrack;
impl Maptrack { /// x
 pub fn new(_n: u32) -> Self { Maptrack } }
