mod codec;
mod flow;
mod robust;
