"""A folder of files, denoised one by one."""
