"""Preview images: prompt files, samplers, pictures, contact sheets."""
