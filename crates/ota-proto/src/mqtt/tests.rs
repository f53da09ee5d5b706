mod codec;
mod flow;
mod robust;
mod tail;
